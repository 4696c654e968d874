#!/usr/bin/env bash
# The admin token has leaked.
source "$(dirname "$0")/lib.sh"
start_postiz
start_gateway
example_tenant
kept=$key
leaked=$GATEWAY_ADMIN_TOKEN
new_key "made by who should not"
stolen=$key stolen_id=$key_id

step "What to do first: a new token; the old one is refused as soon as it is in place"
stop_gateway
export GATEWAY_ADMIN_TOKEN; GATEWAY_ADMIN_TOKEN=$(secret "new admin token")
variables[0]=ADMIN_TOKEN:$GATEWAY_ADMIN_TOKEN
start_gateway
with_token() { curl -s -o "$folder/body" -w '%{http_code}' "$GATEWAY_URL/_gateway/v1/tenants" -H "Authorization: Bearer $1"; }
expect "the leaked token" "$(with_token "$leaked")" 401
expect "the new token" "$(with_token "$GATEWAY_ADMIN_TOKEN")" 200

step "Then what was done with it: look for changes that are not yours"
expect "who made it" "$(gateway audit example --json | grep key.create | grep "$stolen_id")" '*"actor":"admin-token"*'

step "And undo it: keys that nobody of yours made are revoked"
gateway keys revoke example "$stolen_id" --yes
within 15 "the stolen key" "401 key_revoked" status "$stolen"
expect "the tenant's own key" "$(status "$kept")" 200

step "It can't have been read: Postiz keys are sealed, and keys are shown only once"
gateway export >"$folder/export"
expect "an export with the tenant in it" "$(grep -c '"type":"tenant","id":"example"' "$folder/export")" 1
expect "and with its Postiz key" "$(grep -c "$GATEWAY_ORIGIN_KEY" "$folder/export" || true)" 0
