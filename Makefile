# kafka_fdw: Apache Kafka topics as PostgreSQL tables
#
#   make, make install     plain PGXS; need the -dev packages only
#   make demo              from nothing to example queries on real data
#   make demo-stop         ends what make demo started
#   make test              installs what is missing, runs every test
#   make mutate            shows that the tests notice bounds that are off by one
#   make bench             prints speeds as ratios to bare clients and plain queries
#   make lint, make format

EXTENSION = kafka_fdw
MODULE_big = kafka_fdw
PGFILEDESC = "kafka_fdw - Apache Kafka topics as tables"
DATA_built = sql/kafka_fdw--1.0.sql
SCRIPT_PARTS = wrapper rollup_table rollup_schedule rollup_view \
	rollup_function rollup_aggregate
DOCS = $(wildcard doc/*.md)

OBJS = \
	src/catalog.o \
	src/client/batch.o \
	src/client/call.o \
	src/client/config.o \
	src/client/cursor.o \
	src/client/error.o \
	src/client/event.o \
	src/client/group.o \
	src/client/handle.o \
	src/client/lookup.o \
	src/client/message.o \
	src/client/poll.o \
	src/client/pool.o \
	src/client/topic.o \
	src/client/watch.o \
	src/core/bounds.o \
	src/core/cron.o \
	src/core/csv.o \
	src/core/json.o \
	src/core/moment.o \
	src/core/number.o \
	src/core/partitioner.o \
	src/fdw/ahead.o \
	src/fdw/analyze.o \
	src/fdw/answer.o \
	src/fdw/async.o \
	src/fdw/batch_cache.o \
	src/fdw/batch_scan.o \
	src/fdw/convert.o \
	src/fdw/convert_fast.o \
	src/fdw/cost.o \
	src/fdw/decode.o \
	src/fdw/decode_fault.o \
	src/fdw/decode_plan.o \
	src/fdw/explain.o \
	src/fdw/extent.o \
	src/fdw/guard.o \
	src/fdw/ordered_plan.o \
	src/fdw/ordered_scan.o \
	src/fdw/ordered_sort.o \
	src/fdw/ordered_proof.o \
	src/fdw/ordered_window.o \
	src/fdw/path.o \
	src/fdw/plan.o \
	src/fdw/plan_bounds.o \
	src/fdw/progress.o \
	src/fdw/pushdown.o \
	src/fdw/pushdown_columns.o \
	src/fdw/pushdown_evaluate.o \
	src/fdw/pushdown_explain.o \
	src/fdw/pushdown_form.o \
	src/fdw/pushdown_inverse.o \
	src/fdw/pushdown_key.o \
	src/fdw/pushdown_node.o \
	src/fdw/pushdown_operator.o \
	src/fdw/pushdown_value.o \
	src/fdw/pushdown_zone.o \
	src/fdw/reader.o \
	src/fdw/record.o \
	src/fdw/scan.o \
	src/fdw/seen.o \
	src/fdw/slot.o \
	src/fdw/snapshot.o \
	src/fdw/spread.o \
	src/fdw/tail_plan.o \
	src/fdw/tail_scan.o \
	src/fdw/window.o \
	src/func/disorder.o \
	src/func/func.o \
	src/func/group.o \
	src/func/headers.o \
	src/func/session.o \
	src/func/tail.o \
	src/func/watermarks.o \
	src/kafka_fdw.o \
	src/option.o \
	src/option_read.o \
	src/option_table.o \
	src/option_value.o \
	src/rollup/aggregate.o \
	src/rollup/analyze.o \
	src/rollup/apply.o \
	src/rollup/bucket.o \
	src/rollup/budget.o \
	src/rollup/change.o \
	src/rollup/check.o \
	src/rollup/checks.o \
	src/rollup/create.o \
	src/rollup/dead_letter.o \
	src/rollup/diagnose.o \
	src/rollup/evaluate.o \
	src/rollup/follow.o \
	src/rollup/generate.o \
	src/rollup/group.o \
	src/rollup/horizon.o \
	src/rollup/isolate.o \
	src/rollup/job.o \
	src/rollup/join.o \
	src/rollup/keep.o \
	src/rollup/key.o \
	src/rollup/lag.o \
	src/rollup/lane.o \
	src/rollup/live.o \
	src/rollup/loss.o \
	src/rollup/mirror.o \
	src/rollup/mutable.o \
	src/rollup/option.o \
	src/rollup/ordered.o \
	src/rollup/part.o \
	src/rollup/position.o \
	src/rollup/prune.o \
	src/rollup/read.o \
	src/rollup/rebuild.o \
	src/rollup/relation.o \
	src/rollup/resolve.o \
	src/rollup/run.o \
	src/rollup/scalar.o \
	src/rollup/schedule.o \
	src/rollup/seek.o \
	src/rollup/shadow.o \
	src/rollup/slow.o \
	src/rollup/states.o \
	src/rollup/step.o \
	src/rollup/store.o \
	src/rollup/tail.o \
	src/rollup/tail_check.o \
	src/rollup/tail_row.o \
	src/rollup/swap.o \
	src/rollup/template.o \
	src/rollup/test.o \
	src/rollup/test_message.o \
	src/rollup/turn.o \
	src/rollup/watch.o

PKG_CONFIG ?= pkg-config
PG_CPPFLAGS = -I$(srcdir)/src $(shell $(PKG_CONFIG) --cflags rdkafka simdjson)
# Symbols are hidden but for those that PostgreSQL looks up; its own headers
# mark these since 16 only.
PG_CPPFLAGS += -DPGDLLEXPORT='__attribute__((visibility("default")))'
PG_CFLAGS = -fvisibility=hidden
PG_CXXFLAGS = -fvisibility=hidden -fno-exceptions -fno-rtti \
	-DSIMDJSON_EXCEPTIONS=0
SHLIB_LINK = $(shell $(PKG_CONFIG) --libs rdkafka simdjson) -lstdc++ -lpthread
EXTRA_CLEAN = test/unit/build test/fuzz/build test/broker/build \
	test/bench/build

# No bitcode: nothing here is for the JIT compiler to inline, and building it
# would need the very clang that PostgreSQL was built with.
override with_llvm = no

PG_CONFIG ?= pg_config
# The targets that install what is missing must work before there is a
# pg_config to ask.
ifeq ($(filter demo demo-stop test mutate bench lint format,$(MAKECMDGOALS)),)
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(OBJS): $(wildcard $(srcdir)/src/*.h $(srcdir)/src/*/*.h)

sql/kafka_fdw--1.0.sql: $(SCRIPT_PARTS:%=$(srcdir)/sql/%.sql)
	@mkdir -p sql
	awk 'FNR == 1 && NR > 1 { print "" } { print }' $^ >$@.tmp
	mv $@.tmp $@
endif

.PHONY: demo demo-stop test mutate bench lint format

demo:
	test/demo/run

demo-stop:
	test/demo/stop

test:
	test/run

mutate:
	test/mutate

bench:
	test/bench/run

lint:
	test/lint/run

format:
	clang-format-14 -i $$(git ls-files 'src/*.[ch]' 'src/*.cpp' 'test/*.[ch]')
