#!/usr/bin/env bash
# A tenant's object does not answer. On Cloudflare that is for Cloudflare to mend; here its file is damaged.
source "$(dirname "$0")/lib.sh"
start_postiz
start_gateway
example_tenant
expect "before" "$(status "$key")" 200
stop_gateway
back_up

step "What you see: 503 authority_unavailable with Retry-After for that tenant, and a line in the log that names its object"
damage gateway-TenantAuthority
start_gateway
expect "a request" "$(status "$key")" "503 authority_unavailable"
expect "the log" "$(grep -m1 -o '"event":"authority_failed"' "$folder/log")" '"event":"authority_failed"'

step "What to do. On Cloudflare: wait; who got in within the last minute goes on, but for new posts (events: degraded)."
step "On one machine: stop, bring the backup back, start"
stop_gateway
restore
start_gateway
expect "a request" "$(status "$key")" 200
