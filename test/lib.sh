# What test/run, test/bench/run and test/demo/run share: they build as whoever
# calls them, and do all else as an ordinary user, on a copy of the tree, since
# PostgreSQL refuses to be run by root and the user who runs it may not be let
# into the tree.
#
# A script that sources this calls itself again inside, in the copy, as
#
#   SCRIPT --inside WORK ARGUMENT...
#
# shellcheck shell=bash

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config}

# Prints the comment at the head of a script.
print_usage()
{
	sed -n '2,/^set -e/s/^# \{0,1\}//p' "$1"
}

# ---------------------------------------------------------------------------
# Outside
# ---------------------------------------------------------------------------

# Sets as_user, the words in front of a command that make it run as an ordinary
# user with the home HOME: none but for root.
# set_as_user HOME
set_as_user()
{
	as_user=()
	if [ "$(id -u)" -eq 0 ]; then
		as_user=(setpriv --reuid=postgres --regid=postgres --init-groups --
			env HOME="$1")
	fi
}

# Gives folders to the user who will work in them.
give_away()
{
	[ "$(id -u)" -ne 0 ] || chown -R postgres:postgres "$@"
}

# Copies the tree, with what was built, into a new folder.
copy_tree()
{
	mkdir "$1"
	tar -C "$tree" --exclude=./.git --exclude=./tmp_check -cf - . | tar -C "$1" -xf -
}

remove_work()
{
	local status=$?

	trap - EXIT INT TERM HUP
	if [ -n "${inside_pid:-}" ]; then
		kill -TERM "$inside_pid" 2>/dev/null || true
		wait "$inside_pid" 2>/dev/null || true
	fi
	if [ -n "${KAFKA_FDW_KEEP:-}" ]; then
		echo "kept $work"
	else
		rm -rf "$work"
	fi
	exit $status
}

# Makes the working folder, work, with a copy of the tree, and calls a script of
# the copy inside; inside_status is its status. The folder is removed when the
# caller ends, however it does, unless KAFKA_FDW_KEEP is set.
# run_in_work NAME SCRIPT [ARGUMENT]...
run_in_work()
{
	local name=$1 script=$2

	shift 2
	work=$(mktemp -d "${TMPDIR:-/tmp}/$name.XXXXXX")
	trap remove_work EXIT
	trap 'exit 130' INT TERM HUP
	chmod 755 "$work"
	copy_tree "$work/tree"
	give_away "$work"
	set_as_user "$work"

	# In the background, so that a signal is acted on at once.
	(cd "$work" && exec env --default-signal=INT "${as_user[@]}" \
		"$work/tree/$script" --inside "$work" "$@") &
	inside_pid=$!
	inside_status=0
	wait $inside_pid || inside_status=$?
	inside_pid=
}

# ---------------------------------------------------------------------------
# Inside
# ---------------------------------------------------------------------------

# Installs the extension into a private copy of the server, sets bindir to the
# folder of its programs and puts it into PATH. Nothing that the caller has set
# for clients holds from here on.
# use_private_server DIR LOG
use_private_server()
{
	bindir=$("$tree/test/prefix" "$1")
	make -C "$tree" -s install DESTDIR="$1" >"$2" 2>&1 || {
		cat "$2" >&2
		exit 1
	}
	export PATH=$bindir:$PATH LC_ALL=C.UTF-8
	unset PGHOST PGPORT PGUSER PGDATABASE PGOPTIONS PGDATA
}
