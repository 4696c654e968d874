#!/usr/bin/env bash
# KEY_MAC_SECRET and SEALING_KEY are to be replaced.
source "$(dirname "$0")/lib.sh"
start_postiz
start_gateway
example_tenant
old=$key

step "What to do: both values at once, the new one, and the old one as …_PREVIOUS"
stop_gateway
new_variables=("KEY_MAC_SECRET:$(secret "new MAC secret")" "SEALING_KEY:$(printf %32s again | base64)")
variables=("${variables[0]}" "${new_variables[@]}" "KEY_MAC_SECRET_PREVIOUS:$(secret "MAC secret")" "SEALING_KEY_PREVIOUS:$(printf %32s drills | base64)")
start_gateway
expect "a key of before" "$(status "$old")" 200
new_key second
expect "a key of now" "$(status "$key")" 200

step "Seal anew what idle tenants have; again while there is a nextCursor"
curl -s -X POST "$GATEWAY_URL/_gateway/v1/reseal" -H "Authorization: Bearer $GATEWAY_ADMIN_TOKEN" \
  -H "Content-Type: application/json" -d '{}' >"$folder/body"
expect "reseal" "$(cat "$folder/body")" '*"nextCursor":null*'

step "Then without the old values"
stop_gateway
variables=("${variables[0]}" "${new_variables[@]}")
start_gateway
expect "a key of before" "$(status "$old")" 200
expect "a key of now" "$(status "$key")" 200
