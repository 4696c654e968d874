#!/usr/bin/env bash
# A tenant's key has leaked.
source "$(dirname "$0")/lib.sh"
start_postiz
start_gateway
example_tenant
leaked=$key leaked_id=$key_id
new_key second

step "What you see: requests that are not the tenant's; when the key was last used, and from which country"
expect "the leaked key" "$(status "$leaked")" 200
gateway keys show example "$leaked_id"

step "What to do: revoke it; the answer says from when on it is refused everywhere"
gateway keys revoke example "$leaked_id" --yes | tee "$folder/revoked"

step "How to check: it is refused then, and the tenant's other keys are not"
within 15 "the leaked key" "401 key_revoked" status "$leaked"
expect "another key of the tenant" "$(status "$key")" 200

step "If you don't know which: revoke all of the tenant's keys, and make new ones"
curl -s -X DELETE "$GATEWAY_URL/_gateway/v1/tenants/example/keys" -H "Authorization: Bearer $GATEWAY_ADMIN_TOKEN"; echo
within 15 "every key of before" "401 key_revoked" status "$key"
new_key third
expect "a new key" "$(status "$key")" 200

step "Who did what"
gateway audit example
expect "the last of it" "$(gateway audit example --json | grep key.revoke_all)" '*"actor":"admin-token"*'
