# What every drill needs: a folder of its own, a Postiz, a gateway beside it, and steps that say what they see.
# Sourced by the drills. Everything is on loopback and ends with the drill.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$(mktemp -d)
data=$folder/data
postiz_pid=""
gateway_pid=""
secret() { printf %s "$1 of the drills" | sha256sum | cut -d' ' -f1; }
free_port() { node -e 'const s = require("node:net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })'; }

postiz_port=$(free_port)
gateway_port=$(free_port)
export GATEWAY_URL=http://127.0.0.1:$gateway_port
export GATEWAY_ADMIN_TOKEN; GATEWAY_ADMIN_TOKEN=$(secret "admin token")
export GATEWAY_ORIGIN_KEY; GATEWAY_ORIGIN_KEY=$(secret "Postiz key")
export DRILL_POSTIZ_KEY=$GATEWAY_ORIGIN_KEY
origin=http://127.0.0.1:$postiz_port/api
variables=(
  "ADMIN_TOKEN:$GATEWAY_ADMIN_TOKEN"
  "KEY_MAC_SECRET:$(secret "MAC secret")"
  "SEALING_KEY:$(printf %32s drills | base64)"
)

trap end EXIT
end() {
  stop_gateway
  stop_postiz
  rm -rf "$folder"
}

start_postiz() {
  node drills/postiz.mjs "$postiz_port" &
  postiz_pid=$!
  until curl -s -o "$folder/body" "http://127.0.0.1:$postiz_port/"; do sleep 0.1; done
}
stop_postiz() { stop "$postiz_pid"; postiz_pid=""; }

# Options come after those of the drill. Whether it is healthy is for the drill to see.
start_gateway() {
  local options=() each
  for each in "${variables[@]}"; do options+=(--var "$each"); done
  npm run -s standalone -- --port "$gateway_port" --data "$data" --origin "$origin" "${options[@]}" "$@" >"$folder/log" 2>&1 &
  gateway_pid=$!
  until curl -s -o "$folder/body" "$GATEWAY_URL/_gateway/health"; do
    kill -0 "$gateway_pid" 2>"$folder/body" || { cat "$folder/log"; fail "the gateway has ended"; }
    sleep 0.2
  done
}
stop_gateway() { stop "$gateway_pid"; gateway_pid=""; }
stop() {
  [ -n "$1" ] || return 0
  kill "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

back_up() { cp -r "$data" "$folder/backup"; }
restore() {
  rm -rf "$data"
  cp -r "$folder/backup" "$data"
}
# The databases of a kind of object, while the gateway is stopped.
damage() {
  local each
  for each in "$data/storage/$1"/[0-9a-f]*.sqlite; do printf 'this is no database' >"$each"; done
}

gateway() { npm run -s gateway -- "$@"; }
# A request to the public API with a key; says its status, and its reason where it was refused here.
status() {
  curl -s -o "$folder/body" -D "$folder/head" -w '%{http_code}' "$GATEWAY_URL/public/v1/is-connected" -H "Authorization: $1"
  sed -n 's/^[Pp]roxy-[Ss]tatus:.*details="\([a-z_]*\)".*/ \1/p' "$folder/head" | tr -d '\r\n'
}
# What health or ready says.
says() { curl -s "$GATEWAY_URL/_gateway/$1"; }

step() { printf '\n== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*"; exit 1; }
# expect WHAT FOUND WANTED: WANTED is a pattern.
expect() {
  # shellcheck disable=SC2053
  [[ $2 == $3 ]] || fail "$1: found $2, wanted $3"
  printf '%s: %s\n' "$1" "$2"
}
# Waits until WANTED is found by COMMAND, for SECONDS at most.
within() {
  local seconds=$1 what=$2 wanted=$3 found="" end
  shift 3
  end=$((SECONDS + seconds))
  until found=$("$@") && [[ $found == $wanted ]]; do
    [ "$SECONDS" -lt "$end" ] || fail "$what: found $found after $seconds s, wanted $wanted"
    sleep 0.5
  done
  printf '%s: %s\n' "$what" "$found"
}

# A tenant with its Postiz key, and a key of its own in $key with the id $key_id.
example_tenant() {
  gateway tenants create example "Example Ltd" >"$folder/body"
  gateway origin-key set example >"$folder/body"
  new_key "first"
}
new_key() {
  key=$(gateway keys create example --name "$1" --scope "*" 2>"$folder/body")
  key_id=$(gateway keys list example --json | node -e '
    const lines = require("node:fs").readFileSync(0, "utf8").trim().split("\n").map((line) => JSON.parse(line));
    console.log(lines.find(({ name }) => name === process.argv[1]).id)' "$1")
}
