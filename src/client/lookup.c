/*-------------------------------------------------------------------------
 *
 * lookup.c
 *		Log starts, ends, and the offsets of times.
 *
 * rd_kafka_offsets_for_times answers all three: it passes -1 and -2 on to the
 * broker unchecked, and the broker takes them for "end" and "start".  That is
 * not documented, so the tests hold it against a real broker.  The documented
 * rd_kafka_query_watermark_offsets is not used: on a stopped broker version
 * 2.0.2 never returns from it.
 *
 * A partition may stand in one call only once, since the library gives every
 * entry of it the last one's answer.  So lookups are laid out in rounds, each
 * of which is a call on a thread (call.c), and what one asks for together
 * takes one round trip.
 *
 * IDENTIFICATION
 *		src/client/lookup.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "client/handle.h"
#include "miscadmin.h"

/*
 * A topic that metadata has just shown may be unknown again for a moment,
 * while a broker comes back.
 */
#define UNKNOWN_GRACE_MS 2000

/* Rounds that are under way at a time: each has a thread. */
#define MAX_CALLS 8

/* Some lookups of which no two are of the same partition. */
typedef struct LookupRound
{
	KafkaLookup **lookups;
	int nlookups;
	bool answered;
	KafkaCall *call; /* under way, or done and not yet read */
} LookupRound;

typedef struct LookupPlan
{
	KafkaLookup **lookups; /* round after round */
	LookupRound *rounds;
	int nrounds;
} LookupPlan;

struct KafkaLookupAhead
{
	LookupPlan plan;
};

/* ----------------------------------------------------------------
 * Rounds
 * ----------------------------------------------------------------
 */

static int
compare_lookups(const KafkaLookup *a, const KafkaLookup *b)
{
	int result = a->topic == b->topic ? 0 : strcmp(a->topic, b->topic);

	if (result == 0)
		result = (a->partition > b->partition) - (a->partition < b->partition);
	return result;
}

static int
compare_pointers(const void *a, const void *b)
{
	const KafkaLookup *x = *(KafkaLookup *const *) a;
	const KafkaLookup *y = *(KafkaLookup *const *) b;
	int result = compare_lookups(x, y);

	return result ? result : (x > y) - (x < y);
}

/*
 * Numbers the lookups of each partition: the first are of round 0, the second
 * of round 1 and so on.  sorted has them by partition.
 */
static int *
number_rounds(KafkaLookup **sorted, int nlookups, LookupPlan *plan)
{
	int *round_of = palloc(sizeof(int) * nlookups);

	plan->nrounds = 0;
	for (int i = 0; i < nlookups; i++)
	{
		bool again = i > 0 && compare_lookups(sorted[i - 1], sorted[i]) == 0;

		round_of[i] = again ? round_of[i - 1] + 1 : 0;
		plan->nrounds = Max(plan->nrounds, round_of[i] + 1);
	}
	return round_of;
}

/* Lays out the lookups round after round. */
static void
plan_rounds(LookupPlan *plan, KafkaLookup *lookups, int nlookups)
{
	KafkaLookup **sorted = palloc(sizeof(KafkaLookup *) * nlookups);
	KafkaLookup **place;
	int *round_of;

	for (int i = 0; i < nlookups; i++)
		sorted[i] = &lookups[i];
	qsort(sorted, nlookups, sizeof(KafkaLookup *), compare_pointers);
	round_of = number_rounds(sorted, nlookups, plan);
	plan->lookups = palloc(sizeof(KafkaLookup *) * nlookups);
	plan->rounds = palloc0(sizeof(LookupRound) * plan->nrounds);
	for (int i = 0; i < nlookups; i++)
		plan->rounds[round_of[i]].nlookups++;
	place = plan->lookups;
	for (int r = 0; r < plan->nrounds; r++)
	{
		plan->rounds[r].lookups = place;
		place += plan->rounds[r].nlookups;
		plan->rounds[r].nlookups = 0;
	}
	for (int i = 0; i < nlookups; i++)
	{
		LookupRound *round = &plan->rounds[round_of[i]];

		round->lookups[round->nlookups++] = sorted[i];
	}
	pfree(sorted);
	pfree(round_of);
}

static void
free_plan(LookupPlan *plan)
{
	pfree(plan->lookups);
	pfree(plan->rounds);
}

static void
start_round(KafkaClient *client, LookupRound *round, int slice_ms)
{
	rd_kafka_topic_partition_list_t *list =
		rd_kafka_topic_partition_list_new(round->nlookups);

	for (int i = 0; i < round->nlookups; i++)
		rd_kafka_topic_partition_list_add(list, round->lookups[i]->topic,
										  round->lookups[i]->partition)
			->offset = round->lookups[i]->time_ms;
	round->call = kafka_call_times(client, list, slice_ms);
}

/*
 * Copies the answers.  The element's error is looked at first: without an
 * answer its offset is still our own question.  Returns the first error.
 */
static rd_kafka_resp_err_t
read_answers(LookupRound *round, const KafkaLookup **failed)
{
	const rd_kafka_topic_partition_list_t *list = round->call->list;

	*failed = round->lookups[0];
	if (round->call->err != RD_KAFKA_RESP_ERR_NO_ERROR)
		return round->call->err;
	for (int i = 0; i < list->cnt; i++)
	{
		/* The library may have sorted or grouped its own copy, not ours. */
		Assert(list->elems[i].partition == round->lookups[i]->partition);
		if (list->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			*failed = round->lookups[i];
			return list->elems[i].err;
		}
		round->lookups[i]->offset = list->elems[i].offset;
	}
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* Waits for a round's call and reads it. */
static rd_kafka_resp_err_t
finish_round(KafkaClient *client, LookupRound *round,
			 const KafkaLookup **failed)
{
	rd_kafka_resp_err_t err;

	kafka_call_await(client, round->call);
	err = read_answers(round, failed);
	round->answered = (err == RD_KAFKA_RESP_ERR_NO_ERROR);
	kafka_call_free(client, round->call);
	round->call = NULL;
	return err;
}

/*
 * One try of the rounds that are not answered yet, all at once.  Of several
 * errors it returns one that waiting cannot mend, if there is one; *failed is
 * the lookup it speaks of.
 */
static rd_kafka_resp_err_t
try_rounds(KafkaClient *client, LookupRound *rounds, int nrounds, int slice_ms,
		   const KafkaLookup **failed)
{
	rd_kafka_resp_err_t result = RD_KAFKA_RESP_ERR_NO_ERROR;

	for (int r = 0; r < nrounds; r++)
	{
		if (!rounds[r].answered)
			start_round(client, &rounds[r], slice_ms);
	}
	for (int r = 0; r < nrounds; r++)
	{
		const KafkaLookup *lookup;
		rd_kafka_resp_err_t err;

		if (rounds[r].call == NULL)
			continue;
		err = finish_round(client, &rounds[r], &lookup);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR ||
			(result != RD_KAFKA_RESP_ERR_NO_ERROR &&
			 kafka_error_is_transient(err)))
			continue;
		result = err;
		*failed = lookup;
	}
	return result;
}

/* Is it worth trying again after this error? */
static bool
may_pass(const KafkaClient *client, rd_kafka_resp_err_t err)
{
	if (err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
		err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
		err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
		return client->waited_ms <
			   Min(UNKNOWN_GRACE_MS, client->fetch_timeout_ms);
	return kafka_error_is_transient(err) &&
		   client->waited_ms < client->fetch_timeout_ms;
}

/* Tries some rounds until they are answered, up to fetch_timeout. */
static void
ask_rounds(KafkaClient *client, LookupRound *rounds, int nrounds)
{
	int64 begin_ms = kafka_clock_ms();
	int slice_ms = kafka_slice_first(client, client->fetch_timeout_ms);

	for (;;)
	{
		int64 try_ms = kafka_clock_ms();
		const KafkaLookup *failed = NULL;
		rd_kafka_resp_err_t err =
			try_rounds(client, rounds, nrounds, slice_ms, &failed);

		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			kafka_slice_note(client, kafka_clock_ms() - try_ms);
			client->fault.code = RD_KAFKA_RESP_ERR_NO_ERROR;
			return;
		}
		CHECK_FOR_INTERRUPTS();
		kafka_client_serve_events(client);
		client->waited_ms = kafka_clock_ms() - begin_ms;
		if (!may_pass(client, err))
			kafka_client_raise(client, KAFKA_DOING_LOOKUP, err, NULL,
							   failed->topic, failed->partition);
		if (err != RD_KAFKA_RESP_ERR__TIMED_OUT)
			kafka_client_wait(client, KAFKA_RETRY_PAUSE_MS);
		slice_ms = kafka_slice_next(slice_ms, client->fetch_timeout_ms -
												  client->waited_ms);
	}
}

/* ----------------------------------------------------------------
 * What others call
 * ----------------------------------------------------------------
 */

void
kafka_client_lookup(KafkaClient *client, KafkaLookup *lookups, int nlookups)
{
	LookupPlan plan;

	if (nlookups == 0)
		return;
	plan_rounds(&plan, lookups, nlookups);
	for (int r = 0; r < plan.nrounds; r += MAX_CALLS)
		ask_rounds(client, &plan.rounds[r], Min(plan.nrounds - r, MAX_CALLS));
	free_plan(&plan);
}

KafkaLookupAhead *
kafka_client_lookup_begin(KafkaClient *client, KafkaLookup *lookups,
						  int nlookups)
{
	KafkaLookupAhead *ahead = palloc(sizeof(KafkaLookupAhead));
	int slice_ms = kafka_slice_first(client, client->fetch_timeout_ms);

	plan_rounds(&ahead->plan, lookups, nlookups);
	for (int r = 0; r < Min(ahead->plan.nrounds, MAX_CALLS); r++)
		start_round(client, &ahead->plan.rounds[r], slice_ms);
	return ahead;
}

bool
kafka_client_lookup_finish(KafkaClient *client, KafkaLookupAhead *ahead)
{
	bool answered = true;

	for (int r = 0; r < ahead->plan.nrounds; r++)
	{
		LookupRound *round = &ahead->plan.rounds[r];
		const KafkaLookup *failed;

		if (round->call)
			(void) finish_round(client, round, &failed);
		answered &= round->answered;
	}
	free_plan(&ahead->plan);
	pfree(ahead);
	return answered;
}
