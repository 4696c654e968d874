#!/usr/bin/env bash
# ORIGIN_URL has been changed, and is wrong.
source "$(dirname "$0")/lib.sh"
start_postiz
start_gateway
example_tenant
expect "before" "$(status "$key")" 200
right=$origin

step "What you see, where the /api of a self-hosted Postiz is missing: ready says so, and clients get HTML"
stop_gateway
origin=${right%/api}
start_gateway
expect "ready" "$(says ready)" '*Does ORIGIN_URL lack the*/api*'
expect "a request" "$(status "$key")" 200
expect "what it gets" "$(head -c 60 "$folder/body")" '<*'

step "Where nothing listens there: 502"
stop_gateway
origin=http://127.0.0.1:$(free_port)/api
start_gateway
expect "a request" "$(status "$key")" "502 origin_unreachable"

step "What to do: set it right, and look at ready before anything else"
stop_gateway
origin=$right
start_gateway
expect "ready" "$(says ready)" '*"status":"ready"*'
expect "a request" "$(status "$key")" 200
