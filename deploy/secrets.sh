#!/bin/sh
# Makes the secrets of deploy/compose.yaml, each in a file of deploy/secrets. What is there already
# stays as it is. The folder is closed to others; the files in it are not, as the users of the
# containers have to read them.
set -eu
folder=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$folder"
cd "$folder"

random() { od -An -N 32 -tx1 /dev/urandom | tr -d ' \n'; }
digest() { printf %s "$1" | sha256sum | cut -d ' ' -f 1; }
# keep NAME TEXT: writes the file in one step, if it is not there.
keep() {
    [ -e "$1" ] || { printf '%s\n' "$2" > ".$1" && chmod 0444 ".$1" && mv ".$1" "$1"; }
}
known() { cat "$1"; }

for name in postgres_superuser_password postgres_threadkeep_password redis_password \
    broker_password clickhouse_password jwt_secret metrics_token; do
    keep "$name" "$(random)"
done
keep flower_basic_auth "admin:$(random)"

# What programs may do: everything but stop a server, load code into it or change it.
for name in redis broker; do
    password=$(known "${name}_password")
    rights="~* &* +@all -@dangerous -function +info +config|get +bgrewriteaof"
    keep "${name}_acl" "user default on #$(digest "$password") $rights
user probe on nopass -@all +ping"
done
keep clickhouse_users "<clickhouse><users>
  <default remove=\"remove\"/>
  <threadkeep>
    <password_sha256_hex>$(digest "$(known clickhouse_password)")</password_sha256_hex>
    <networks><ip>::/0</ip></networks>
    <profile>default</profile>
    <quota>default</quota>
    <grants>
      <query>GRANT ALL ON default.*</query>
      <query>GRANT SELECT ON system.*</query>
      <query>GRANT CREATE TEMPORARY TABLE ON *.*</query>
    </grants>
  </threadkeep>
</users></clickhouse>"

keep redis_url "redis://:$(known redis_password)@redis:6379/0"
keep broker_url "redis://:$(known broker_password)@broker:6379/0"
keep clickhouse_url "clickhouse+http://threadkeep:$(known clickhouse_password)@clickhouse:8123/default"
# One for each kind of program, so that each can have a login of its own.
for program in web worker migrate; do
    keep "database_url_$program" \
        "postgresql+psycopg2://threadkeep:$(known postgres_threadkeep_password)@postgres:5432/threadkeep"
done
