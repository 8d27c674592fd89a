#!/bin/sh
# Make the secrets that are missing, and keep those that are there: deploy/secrets.sh [FOLDER]
#
# The folder is closed to others; its files are not, because the users inside the containers, whom no file
# here belongs to, must read them. Names of servers are those of docker-compose.yml and k8s/.
set -eu
folder="${1:-$(dirname "$0")/secrets}"
mkdir -p "$folder"
chmod 700 "$folder"
umask 022

word() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

keep() {
    [ -s "$folder/$1" ] || { printf '%s' "$2" > "$folder/$1.new" && mv "$folder/$1.new" "$folder/$1"; }
}

keep postgres_password "$(word)"
keep redis_password "$(word)"
keep s3_access_key "quarry"
keep s3_secret_key "$(word)"
keep qdrant_api_key "$(word)"
keep webhook_secret "$(word)"

redis="$(cat "$folder/redis_password")"
keep database_url "postgresql+psycopg://quarry:$(cat "$folder/postgres_password")@postgres:5432/quarry"
keep broker_url "redis://quarry:$redis@redis-broker:6379/0"
keep cache_url "redis://quarry:$redis@redis-cache:6379/0"
# Health checks log in as nobody and may only PING. Nothing Quarry does needs the rest of what is left out.
keep redis_acl "user default on nopass resetkeys resetchannels -@all +ping
user quarry on >$redis ~* &* +@all -@admin -flushall -flushdb +config|get
"
