// wire PORT...   A switch in user space between network interfaces, with weather: delay, jitter, loss, a cut cable.
//
// PORT is IF or IF:DELAY:JITTER:LOSS (milliseconds, milliseconds, per cent). A frame that comes in on a port waits
// DELAY +- JITTER, is lost with a chance of LOSS, and then leaves on every other port. The standard input takes
//     cut IF | heal IF | set IF DELAY JITTER LOSS
// and is answered with a line each, "ok" or "what?". At its end the switch ends, so that it never outlives its test.
// What does this on a host of one's own is tc's netem, which not every kernel has.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <math.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PORTS = 16, FRAME = 65536, IN_FLIGHT = 65536 };

struct port {
    char name[IFNAMSIZ];
    int socket, cut;
    double delay, jitter, loss;
};

struct frame {
    double due; // milliseconds on the monotonic clock
    int port, length;
    unsigned char bytes[];
};

static struct port ports[PORTS];
static int port_count;
static struct frame *heap[IN_FLIGHT + 1]; // a heap by due time; its root is at 1
static int heap_count;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void push(struct frame *frame) {
    int at = ++heap_count;
    for (; at > 1 && heap[at / 2]->due > frame->due; at /= 2) heap[at] = heap[at / 2];
    heap[at] = frame;
}

static struct frame *pop(void) {
    struct frame *first = heap[1], *last = heap[heap_count--];
    int at = 1;
    for (int child; (child = 2 * at) <= heap_count; at = child) {
        if (child < heap_count && heap[child + 1]->due < heap[child]->due) child++;
        if (last->due <= heap[child]->due) break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return first;
}

static struct port *find(const char *name) {
    for (int i = 0; i < port_count; i++)
        if (!strcmp(ports[i].name, name)) return &ports[i];
    return NULL;
}

static void plug(const char *text) {
    struct port *port = &ports[port_count++];
    if (sscanf(text, "%15[^:]:%lf:%lf:%lf", port->name, &port->delay, &port->jitter, &port->loss) < 1) exit(2);
    port->socket = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL));
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(ETH_P_ALL),
        .sll_ifindex = (int)if_nametoindex(port->name),
    };
    int room = 8 << 20;
    setsockopt(port->socket, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    if (!address.sll_ifindex || bind(port->socket, (struct sockaddr *)&address, sizeof address)) {
        fprintf(stderr, "wire: %s: %s\n", port->name, strerror(errno));
        exit(1);
    }
}

static void obey(const char *line) {
    char verb[8] = "", name[IFNAMSIZ] = "";
    double delay = 0, jitter = 0, loss = 0;
    sscanf(line, "%7s %15s %lf %lf %lf", verb, name, &delay, &jitter, &loss);
    struct port *port = find(name);
    int known = port && (!strcmp(verb, "cut") || !strcmp(verb, "heal") || !strcmp(verb, "set"));
    if (known && *verb == 's') port->delay = delay, port->jitter = jitter, port->loss = loss;
    if (known && *verb != 's') port->cut = *verb == 'c';
    puts(known ? "ok" : "what?");
}

static void take(int from) {
    static unsigned char bytes[FRAME];
    struct port *port = &ports[from];
    for (;;) {
        struct sockaddr_ll sender;
        socklen_t size = sizeof sender;
        int length = recvfrom(port->socket, bytes, sizeof bytes, 0, (struct sockaddr *)&sender, &size);
        if (length <= 0) return;
        if (sender.sll_pkttype == PACKET_OUTGOING || port->cut || drand48() * 100 < port->loss) continue;
        struct frame *frame = heap_count < IN_FLIGHT ? malloc(sizeof *frame + length) : NULL;
        if (!frame) continue; // as a full buffer does: the sender sends it again
        frame->due = now() + fmax(0, port->delay + (drand48() * 2 - 1) * port->jitter);
        frame->port = from;
        frame->length = length;
        memcpy(frame->bytes, bytes, length);
        push(frame);
    }
}

static void deliver(void) {
    while (heap_count && heap[1]->due <= now()) {
        struct frame *frame = pop();
        for (int i = 0; i < port_count && !ports[frame->port].cut; i++)
            if (i != frame->port && !ports[i].cut) send(ports[i].socket, frame->bytes, frame->length, 0);
        free(frame);
    }
}

int main(int count, char **arguments) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    srand48(time(NULL) ^ getpid());
    if (count < 2 || count > PORTS + 1) return 2;
    for (int i = 1; i < count; i++) plug(arguments[i]);
    struct pollfd sources[PORTS + 1] = {{.fd = STDIN_FILENO, .events = POLLIN}};
    for (int i = 0; i < port_count; i++) sources[i + 1] = (struct pollfd){.fd = ports[i].socket, .events = POLLIN};
    puts("ready");
    for (;;) {
        int pause = heap_count ? (int)fmax(1, ceil(heap[1]->due - now())) : -1;
        poll(sources, port_count + 1, pause);
        if (sources[0].revents) {
            char text[256];
            int length = read(STDIN_FILENO, text, sizeof text - 1);
            if (length <= 0) return 0;
            text[length] = 0;
            for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) obey(line);
        }
        for (int i = 0; i < port_count; i++)
            if (sources[i + 1].revents) take(i);
        deliver();
    }
}
