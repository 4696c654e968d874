#!/usr/bin/env bash
# KV can't be read. On Cloudflare that is for Cloudflare to mend; here its file is damaged.
source "$(dirname "$0")/lib.sh"
variables+=(LEARN_FROM_ORIGIN:true)
start_postiz
start_gateway
expect "a key of Postiz's, learnt" "$(status "$DRILL_POSTIZ_KEY")" 200
stop_gateway
back_up

step "What you see: 503 credentials_unavailable for keys that a Worker has not seen, never 401; ready names it"
damage kv-KvStore
start_gateway
expect "a key" "$(status "$DRILL_POSTIZ_KEY")" "503 credentials_unavailable"
expect "ready" "$(says ready)" '*"status":"not_ready"*"authority":"ok"*'

step "What to do. On Cloudflare: wait, keys in use go on. On one machine: stop, bring the backup back, start"
stop_gateway
restore
start_gateway
expect "a key" "$(status "$DRILL_POSTIZ_KEY")" 200
expect "ready" "$(says ready)" '*"credentials":"ok"*'
