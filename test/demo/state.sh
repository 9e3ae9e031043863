# The demo's folder, and who works in it; sourced by run and stop.
# shellcheck shell=bash

. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

if [ -n "${KAFKA_FDW_DEMO_DIR:-}" ]; then
	state=$KAFKA_FDW_DEMO_DIR
elif [ "$(id -u)" -eq 0 ]; then
	state=/var/lib/kafka_fdw_demo
else
	state=${XDG_STATE_HOME:-$HOME/.local/state}/kafka_fdw_demo
fi
state=$(realpath -m "$state")

# Runs a command as the folder's owner: PostgreSQL refuses to be run by root.
as_owner()
{
	set_as_user "$state"
	(cd "$state" && KAFKA_FDW_DEMO_DIR=$state exec "${as_user[@]}" "$@")
}
