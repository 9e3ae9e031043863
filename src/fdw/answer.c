/*-------------------------------------------------------------------------
 *
 * answer.c
 *		What a reader asks the brokers about its partitions, in few round
 *		trips, and what they said.
 *
 * The ends of a topic, its log starts and the offsets of a window's times are
 * questions for the same leaders, and nothing is won by asking one after the
 * other.  So whoever can tell what will be wanted says so first, and then all
 * is asked at once.  What was asked in vain does no harm.
 *
 * An answer from before the ends were known is as good as a later one, but for
 * one case.  A hit is the first record of a time, whatever is appended after
 * it.  "No such record" is another matter: a record that comes next may have
 * such a time and still lie before the ends, which were taken later.  Such an
 * answer is kept apart as "early".  For a window's start it proves nothing,
 * and the question is asked again.  For a stop it does: no such record means
 * to read up to the end, which is always right.
 *
 * For the same reason an answer outlives the start of the scan that asked for
 * it: what a rescan asks again, such as the end of one window that is the
 * start of the next, is known already.
 *
 * IDENTIFICATION
 *		src/fdw/answer.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fdw/reader.h"
#include "utils/hsearch.h"

typedef struct AnswerKey
{
	int64 time_ms; /* or KAFKA_LOOKUP_END, KAFKA_LOOKUP_START */
	int32 topic;   /* its place among the reader's */
	int32 partition;
} AnswerKey;

typedef struct Answer
{
	AnswerKey key;
	bool asked; /* since the last that it got, if any */
	bool known; /* offset is valid */
	bool early; /* from before the ends were known */
	int64 offset;
} Answer;

struct KafkaAnswers
{
	HTAB *table;
	KafkaLookup *lookups; /* to be asked */
	Answer **answers;     /* of the same */
	int nlookups;
	int capacity;
	KafkaLookupAhead *ahead; /* when they are being asked */
	bool ends_known;
	int64 asked; /* lookups, so far */
};

KafkaAnswers *
kafka_answers_create(MemoryContext context)
{
	KafkaAnswers *answers =
		MemoryContextAllocZero(context, sizeof(KafkaAnswers));
	HASHCTL control = {.keysize = sizeof(AnswerKey),
					   .entrysize = sizeof(Answer),
					   .hcxt = context};

	answers->table = hash_create("Kafka answers", 64, &control,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	answers->capacity = 64;
	answers->lookups =
		MemoryContextAlloc(context, sizeof(KafkaLookup) * answers->capacity);
	answers->answers =
		MemoryContextAlloc(context, sizeof(Answer *) * answers->capacity);
	return answers;
}

static void
add_lookup(KafkaAnswers *answers, Answer *answer, const char *topic)
{
	KafkaLookup *lookup;

	if (answers->nlookups == answers->capacity)
	{
		answers->capacity *= 2;
		answers->lookups =
			repalloc_huge(answers->lookups,
						  sizeof(KafkaLookup) * answers->capacity);
		answers->answers = repalloc_huge(answers->answers,
										 sizeof(Answer *) * answers->capacity);
	}
	lookup = &answers->lookups[answers->nlookups];
	answers->answers[answers->nlookups++] = answer;
	answers->asked++;
	lookup->topic = topic;
	lookup->partition = answer->key.partition;
	lookup->time_ms = answer->key.time_ms;
	answer->asked = true;
}

void
kafka_answers_want(KafkaAnswers *answers, int topic_index, const char *topic,
				   int32 partition, int64 time_ms, bool early_will_do)
{
	AnswerKey key = {.time_ms = time_ms,
					 .topic = topic_index,
					 .partition = partition};
	bool found;
	Answer *answer = hash_search(answers->table, &key, HASH_ENTER, &found);

	Assert(answers->ahead == NULL);
	if (!found)
		answer->asked = answer->known = answer->early = false;
	if (answer->asked)
		return;
	if (answer->known &&
		(answer->offset != KAFKA_NO_OFFSET || !answer->early ||
		 early_will_do || !answers->ends_known))
		return;
	add_lookup(answers, answer, topic);
}

/* Takes the answers, or with known false, only forgets the questions. */
static void
take_answers(KafkaAnswers *answers, bool known)
{
	for (int i = 0; i < answers->nlookups; i++)
	{
		Answer *answer = answers->answers[i];

		answer->asked = false;
		if (!known)
			continue;
		answer->known = true;
		answer->early = !answers->ends_known;
		answer->offset = answers->lookups[i].offset;
	}
	answers->nlookups = 0;
}

void
kafka_answers_ask(KafkaAnswers *answers, KafkaClient *client)
{
	kafka_client_lookup(client, answers->lookups, answers->nlookups);
	take_answers(answers, true);
}

void
kafka_answers_begin(KafkaAnswers *answers, KafkaClient *client)
{
	if (answers->nlookups > 0)
		answers->ahead = kafka_client_lookup_begin(client, answers->lookups,
												   answers->nlookups);
}

void
kafka_answers_finish(KafkaAnswers *answers, KafkaClient *client, bool wanted)
{
	if (answers->ahead == NULL)
		return;
	wanted &= kafka_client_lookup_finish(client, answers->ahead);
	answers->ahead = NULL;
	take_answers(answers, wanted);
}

void
kafka_answers_note_ends(KafkaAnswers *answers)
{
	answers->ends_known = true;
}

int64
kafka_answers_get(const KafkaAnswers *answers, int topic_index,
				  int32 partition, int64 time_ms)
{
	AnswerKey key = {.time_ms = time_ms,
					 .topic = topic_index,
					 .partition = partition};
	const Answer *answer = hash_search(answers->table, &key, HASH_FIND, NULL);

	Assert(answer && answer->known);
	return answer->offset;
}

int64
kafka_answers_count_asked(const KafkaAnswers *answers)
{
	return answers->asked;
}

int64
kafka_answers_count(const KafkaAnswers *answers)
{
	return hash_get_num_entries(answers->table);
}
