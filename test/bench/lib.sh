# What the parts of the benchmark share: SQL, medians, and the table; sourced by
# run. Measurements are kept one a line in files of $work, by name.
# shellcheck shell=bash

run_sql()
{
	psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"
}

# The middle one of the numbers on standard input.
median()
{
	sort -n | awk '{ value[NR] = $1 }
		END { if (NR == 0) exit 1; print NR % 2 ? value[(NR + 1) / 2] : (value[NR / 2] + value[NR / 2 + 1]) / 2 }'
}

# median_of NAME: of what was measured, in ms
median_of()
{
	median <"$work/times/$1"
}

largest()
{
	sort -n | tail -n 1
}

wrong()
{
	echo "WRONG: $1: the answer is $2, it should be $3" >&2
	exit 1
}

# check NAME ANSWER EXPECTED
check()
{
	[ "$2" = "$3" ] || wrong "$@"
}

# Notes the median of lines "MS ANSWER", after checking the answers:
# note NAME EXPECTED <lines
note()
{
	local name=$1 expected=$2 ms answer

	while read -r ms answer; do
		check "$name" "$answer" "$expected"
		echo "$ms"
	done | median >>"$work/times/$name"
}

# print_heading FIRST SECOND [OTHER]...: names of columns of print_line
print_heading()
{
	echo
	printf '%-38s %-5s %9s %9s %6s %6s %6s' "$1" topic "$2" "$3" ratio goal ''
	shift 3
	[ $# -eq 0 ] || printf ' %9s %9s %6s' "$@"
	echo
}

# print_line QUESTION TOPIC OURS OTHER GOAL [OURS_CPU OTHER_CPU]; GOAL is a ratio,
# or milliseconds as in 25ms, or - for none
print_line()
{
	awk -v question="$1" -v topic="$2" -v ours="$3" -v other="$4" -v goal="$5" \
		-v ours_cpu="${6:-}" -v other_cpu="${7:-}" 'BEGIN {
		ratio = ours / other
		reached = (goal ~ /ms$/) ? ours : ratio
		printf "%-38s %-5s %9.1f %9.1f %6.2f %6s %-6s", question, topic, ours,
			other, ratio, goal, (goal != "-" && reached > goal + 0 ? "missed" : "")
		if (ours_cpu != "")
			printf " %9.0f %9.0f %6.2f", ours_cpu, other_cpu, ours_cpu / other_cpu
		printf "\n"
	}'
}

# print_number TEXT TOPIC VALUE UNIT GOAL
print_number()
{
	awk -v text="$1" -v topic="$2" -v value="$3" -v unit="$4" -v goal="$5" 'BEGIN {
		printf "%-38s %-5s %9.2f %-9s %6s %6s %s\n", text, topic, value, unit, "",
			goal, (goal != "-" && value > goal + 0 ? "missed" : "")
	}'
}
