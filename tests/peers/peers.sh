#!/usr/bin/env bash
# A private Postfix and Dovecot for the tests, on loopback and in one folder.
#
#   peers.sh start DIR OWNER   configures and starts them; they stop when process OWNER ends
#   peers.sh stop DIR          stops them
#
# DIR/tls holds cert.pem and key.pem. The environment names the ports: SMTP, SUBMISSION, SUBMISSIONS, IMAP, IMAPS, POP3,
# POP3S, LMTP, SASL, SIEVE, QUOTA. Postfix receives for example.test and delivers over LMTP to Dovecot. Accounts, all with
# the password in DIR/password: audit@ and other@ (delivered), spam@ (delivered to Junk), twice@ (delivered twice), lost@
# (dropped), full@ (its mailbox takes no more), grey@ (450 whenever it is asked for), held@ (held in the queue).
set -euo pipefail
action=$1 dir=$2

stop() {
  [ -s "$dir/postfix/spool/pid/master.pid" ] && postfix -c "$dir/postfix/etc" stop || true
  [ -s "$dir/dovecot/run/master.pid" ] && doveadm -c "$dir/dovecot/dovecot.conf" stop || true
} >/dev/null 2>&1

if [ "$action" = stop ]; then stop; exit; fi
owner=$3
if [ "$action" = guard ]; then
  while kill -0 "$owner" 2>/dev/null && [ -d "$dir" ]; do sleep 1; done
  stop
  exit
fi

for program in postfix dovecot doveadm; do
  command -v "$program" >/dev/null || { echo "$program is not installed; run ./test, which installs what the tests need"; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "Postfix starts only as root; run the tests as root or in a container"; exit 1; }

mkdir -p "$dir"/log "$dir"/postfix/{etc,spool,data} "$dir"/dovecot/{run,state,mail}
chmod 755 "$dir" "$dir"/log "$dir"/postfix "$dir"/postfix/{etc,spool} "$dir"/dovecot
chown postfix:root "$dir/postfix/data"
chown mail:mail "$dir/dovecot/mail"
password=$(<"$dir/password")
ids=$(id -u mail):$(id -g mail)
for user in audit other spam twice lost full grey held; do
  rule=; [ $user = full ] && rule='userdb_quota_rule=*:messages=1'
  echo "$user@example.test:{PLAIN}$password:$ids::$dir/dovecot/mail/$user::$rule"
done > "$dir/dovecot/users"
mkdir -p "$dir"/dovecot/mail/full/Maildir/{cur,new,tmp}
printf 'Subject: the only one\r\n\r\nThere is no room for another.\r\n' > "$dir/dovecot/mail/full/Maildir/cur/1.only:2,S"
chown -R mail:mail "$dir/dovecot/mail/full"

cat > "$dir/dovecot/dovecot.conf" <<C
base_dir = $dir/dovecot/run
state_dir = $dir/dovecot/state
instance_name = varde-tests
protocols = imap pop3 lmtp sieve
listen = 127.0.0.1
log_path = $dir/log/dovecot.log
disable_plaintext_auth = no
auth_mechanisms = plain login scram-sha-1 scram-sha-256
auth_username_format = %Lu
ssl = yes
ssl_cert = <$dir/tls/cert.pem
ssl_key = <$dir/tls/key.pem
mail_location = maildir:~/Maildir
mail_uid = mail
mail_gid = mail
first_valid_uid = 1
first_valid_gid = 1
postmaster_address = postmaster@example.test
hostname = mx.example.test
recipient_delimiter = +
lmtp_save_to_detail_mailbox = yes
lda_mailbox_autocreate = yes
stats_writer_socket_path =
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%u $dir/dovecot/users
}
userdb {
  driver = passwd-file
  args = username_format=%u $dir/dovecot/users
}
namespace inbox {
  inbox = yes
  separator = /
  mailbox Junk {
    auto = create
    special_use = \\Junk
  }
}
mail_plugins = quota
protocol imap {
  mail_plugins = quota imap_quota
}
plugin {
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:storage=100M
  quota_status_success = DUNNO
  quota_status_nouser = DUNNO
  quota_status_overquota = "552 5.2.2 Mailbox is full"
  sieve = file:~/sieve;active=~/.dovecot.sieve
}
service quota-status {
  executable = quota-status -p postfix
  client_limit = 1
  inet_listener {
    address = 127.0.0.1
    port = $QUOTA
  }
}
service managesieve-login {
  inet_listener sieve {
    port = $SIEVE
  }
}
service imap-login {
  inet_listener imap {
    port = $IMAP
  }
  inet_listener imaps {
    port = $IMAPS
    ssl = yes
  }
}
service pop3-login {
  inet_listener pop3 {
    port = $POP3
  }
  inet_listener pop3s {
    port = $POP3S
    ssl = yes
  }
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = $LMTP
  }
}
service auth {
  inet_listener sasl {
    address = 127.0.0.1
    port = $SASL
  }
}
C

cat > "$dir/postfix/etc/main.cf" <<C
compatibility_level = 3.6
queue_directory = $dir/postfix/spool
data_directory = $dir/postfix/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = $dir/log/postfix.log
maillog_file_prefixes = $dir
myhostname = mx.example.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
recipient_delimiter = +
disable_dns_lookups = yes
default_transport = error:5.1.2 no mail leaves the tests
virtual_mailbox_domains = example.test
virtual_mailbox_maps = regexp:$dir/postfix/etc/mailboxes
virtual_alias_maps = regexp:$dir/postfix/etc/aliases
virtual_transport = lmtp:inet:127.0.0.1:$LMTP
lmtp_destination_recipient_limit = 1
transport_maps = regexp:$dir/postfix/etc/transport
smtpd_tls_cert_file = $dir/tls/cert.pem
smtpd_tls_key_file = $dir/tls/key.pem
smtpd_tls_security_level = may
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:$SASL
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = reject_unlisted_recipient, check_recipient_access regexp:$dir/postfix/etc/access,
  check_policy_service inet:127.0.0.1:$QUOTA
smtpd_authorized_xforward_hosts = 127.0.0.0/8
C
echo '/^(audit|other|spam|twice|lost|full|grey|held)(\+[a-zA-Z]+)?@example\.test$/ x' > "$dir/postfix/etc/mailboxes"
cat > "$dir/postfix/etc/aliases" <<'C'
/^spam@example\.test$/ spam+Junk@example.test
/^twice@example\.test$/ twice@example.test, twice+INBOX@example.test
C
cat > "$dir/postfix/etc/access" <<'C'
/^grey@example\.test$/ 450 4.2.0 greylisted, come again later
/^held@example\.test$/ HOLD
C
echo '/^lost@example\.test$/ discard:' > "$dir/postfix/etc/transport"
{
  cat <<C
127.0.0.1:$SMTP inet n - n - - smtpd
127.0.0.1:$SUBMISSION inet n - n - - smtpd
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
127.0.0.1:$SUBMISSIONS inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
C
  # Debian's own internal services, outside a chroot.
  grep -E '^(pickup|cleanup|qmgr|tlsmgr|rewrite|bounce|defer|trace|verify|flush|proxymap|proxywrite|smtp +unix|relay|showq|error|retry|discard|local|virtual|lmtp|anvil|scache|postlog) ' \
    /etc/postfix/master.cf.proto | awk '{$5="n"; print}'
} > "$dir/postfix/etc/master.cf"
cp /etc/postfix/dynamicmaps.cf /etc/postfix/postfix-files "$dir/postfix/etc/" 2>/dev/null || true
mkdir -p "$dir"/postfix/etc/{dynamicmaps,postfix-files}.d

# Daemons keep what they are started with: they must not hold the tests' pipes.
{ dovecot -c "$dir/dovecot/dovecot.conf" && postfix -c "$dir/postfix/etc" start; } </dev/null >"$dir/log/start.log" 2>&1 ||
  { cat "$dir"/log/*.log; stop; exit 1; }

# When the tests are killed, nobody else would stop them; of its own session, so that it is not killed along.
setsid "$0" guard "$dir" "$owner" </dev/null >/dev/null 2>&1 &

open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
for port in "$SMTP" "$SUBMISSION" "$SUBMISSIONS" "$IMAP" "$IMAPS" "$POP3" "$POP3S" "$LMTP" "$SASL" "$SIEVE" "$QUOTA"; do
  for _ in $(seq 200); do open "$port" && continue 2; sleep 0.05; done
  echo "nothing listens on port $port"; tail -n 5 "$dir"/log/*.log; stop; exit 1
done
