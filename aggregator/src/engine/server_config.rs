//! What the engine reads at its start: `config.xml` and `users.xml` in the data directory.
//!
//! Neither holds a secret: who may log in is decided by the HTTP face, and a query of an operator could
//! read both files.

use std::fs;
use std::io;
use std::path::Path;

/// Durability, and caches and pools for a small machine. The measured reasons for `<merge_tree>`: by
/// default nothing is flushed to the disk before an insert is acknowledged, and the parts that a merge
/// replaced are removed before the merged one is on it.
const CONFIG: &str = "<clickhouse>
    <!-- Written by varde at every start: changes here are lost. -->
    <users_config>users.xml</users_config>
    <merge_tree>
        <fsync_after_insert>1</fsync_after_insert>
        <fsync_part_directory>1</fsync_part_directory>
        <min_rows_to_fsync_after_merge>1</min_rows_to_fsync_after_merge>
        <old_parts_lifetime>480</old_parts_lifetime>
    </merge_tree>
    <mark_cache_size>134217728</mark_cache_size>
    <index_mark_cache_size>67108864</index_mark_cache_size>
    <primary_index_cache_size>134217728</primary_index_cache_size>
    <uncompressed_cache_size>0</uncompressed_cache_size>
    <query_cache><max_size_in_bytes>16777216</max_size_in_bytes></query_cache>
    <max_server_memory_usage_to_ram_ratio>0.5</max_server_memory_usage_to_ram_ratio>
    <background_pool_size>2</background_pool_size>
    <background_schedule_pool_size>8</background_schedule_pool_size>
    <access_control_improvements>
        <select_from_system_db_requires_grant>true</select_from_system_db_requires_grant>
    </access_control_improvements>
</clickhouse>
";

/// One engine user with two roles. A session of an operator gives up `full` and keeps `report`. Row policies
/// hide every system table from `report` but those that a client needs: `system.processes` would show
/// the queries of others, and no grant governs it.
const USERS: &str = "<clickhouse>
    <!-- Written by varde at every start: changes here are lost. -->
    <profiles>
        <default>
            <async_insert>0</async_insert>
            <insert_deduplicate>1</insert_deduplicate>
            <deduplicate_blocks_in_dependent_materialized_views>1</deduplicate_blocks_in_dependent_materialized_views>
            <log_queries>0</log_queries>
            <!-- SELECT * shows the columns that a table computes too: `response` and `trace_id` are of the contract. -->
            <asterisk_include_alias_columns>1</asterisk_include_alias_columns>
            <!-- The kernel refuses every connection: trying again only holds a thread. -->
            <http_max_tries>1</http_max_tries>
            <s3_retry_attempts>0</s3_retry_attempts>
        </default>
    </profiles>
    <quotas><default/></quotas>
    <roles>
        <full><grants><query>GRANT ALL ON *.* WITH GRANT OPTION</query></grants></full>
        <report><grants>
            <query>GRANT SHOW DATABASES, SHOW TABLES, SHOW COLUMNS, SHOW DICTIONARIES, SELECT ON varde.*</query>
        </grants></report>
    </roles>
    <users>
        <default>
            <password/>
            <networks><ip>::/0</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
            <grants><query>GRANT full</query><query>GRANT report</query></grants>
            <databases>
                <system>
                    <table name=\"\"><filter>has(currentRoles(), 'full')</filter></table>
                    <table name=\"one\"><filter>1</filter></table>
                    <table name=\"numbers\"><filter>1</filter></table>
                    <table name=\"databases\"><filter>1</filter></table>
                    <table name=\"tables\"><filter>1</filter></table>
                    <table name=\"columns\"><filter>1</filter></table>
                    <table name=\"functions\"><filter>1</filter></table>
                    <table name=\"settings\"><filter>1</filter></table>
                    <table name=\"formats\"><filter>1</filter></table>
                    <table name=\"keywords\"><filter>1</filter></table>
                    <table name=\"time_zones\"><filter>1</filter></table>
                    <table name=\"data_type_families\"><filter>1</filter></table>
                </system>
            </databases>
        </default>
    </users>
</clickhouse>
";

/// Makes the data directory if it is not there, and writes both files.
///
/// # Errors
/// The directory or a file cannot be written.
pub fn write(data_dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
    fs::write(data_dir.join("config.xml"), CONFIG)?;
    fs::write(data_dir.join("users.xml"), USERS)
}
