#!/usr/bin/env bash
# Postiz does not answer.
source "$(dirname "$0")/lib.sh"
start_postiz
start_gateway
example_tenant
expect "before" "$(status "$key")" 200

step "What you see: 502 origin_unreachable (504 origin_timeout where it hangs), ready names the origin, the gateway is healthy"
stop_postiz
expect "a request" "$(status "$key")" "502 origin_unreachable"
expect "ready" "$(says ready)" '*"origin":"ORIGIN_URL gave no answer*'
expect "health" "$(says health)" '*"status":"ok"*'

step "What to do: nothing here. Events say which requests failed, and when"
sleep 2
npm run -s standalone -- events --data "$data" | grep origin_unreachable

step "When it is back, so is everything, at once; what ready has found stands for a few seconds"
start_postiz
expect "a request" "$(status "$key")" 200
within 10 "ready" '*"origin":"ok"*' says ready
