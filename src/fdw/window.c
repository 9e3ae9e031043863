/*-------------------------------------------------------------------------
 *
 * window.c
 *		From bounds on offsets and times to ranges of offsets.
 *
 * Let L(t) be the broker's answer to a lookup: the first offset whose record
 * time is at or after t, in the first segment whose largest time is.
 *
 * Start.  A hit is lossless: every record with a time >= t is at or after
 * L(t), by the meaning of "first", however the times are ordered.  Control
 * and aborted records take part in the lookup, which can only make the answer
 * earlier.  A hit at or past the end means that nothing visible matches.  It
 * does not matter when it was asked for: what is appended later lies behind
 * it.
 *
 * "No such record" proves nothing by itself.  The broker searches one segment
 * only, and that segment's largest time may belong to a record that is no
 * longer there: after DeleteRecords moved the log start into the segment, or
 * where compaction emptied a producer's last batch, which keeps its time.  It
 * is believed where neither can have happened: cleanup.policy is delete, and
 * the log still started at 0 after it was asked for.  Besides, the ends must
 * have been known before, lest a record turn up between.  Else we look for
 * earlier times, doubling the step, until there is a hit, which is lossless
 * for the later time too; and where that hit lies far from the end, we look
 * for a later one in between.
 *
 * Stop.  L(b + 1) is not lossless: records with times <= b may follow it.
 * Where every record's time lies within lag behind and lead ahead of the
 * moment it was appended, and append times never step back by more than skew,
 * L(b + lag + lead + skew + 1) is: the record q found was appended after
 * b + lag + skew, so what follows was appended after b + lag, and has a time
 * after b.  That is true of q whenever it was asked for, and where there is no
 * such record the stop is the end snapshot, which is always right; so it is
 * without such a bound.
 *
 * Most of these questions went out along with the one for the ends (ahead.c).
 * What is asked here goes by what is known for certain, and finds the answer
 * already there, or waits for it.
 *
 * IDENTIFICATION
 *		src/fdw/window.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fdw/seen.h"
#include "fdw/window.h"

/* A start this near the end is good enough; see above. */
#define GOOD_START_OFFSETS 10000

#define FIRST_STEP_BACK_MS 1000

/* One slice of the bounds in one partition, on its way to a range. */
typedef struct Piece
{
	KafkaSnapshotTopic *topic;
	int topic_index; /* in the reader's list */
	KafkaSnapshotPart *part;
	KafkaRange offset; /* what is left after each step */
	KafkaRange time_ms;
	bool start_in_log;    /* offset.start is not below the log start */
	int64 needs_proof_ms; /* not 0: a stop holds only if the record there has
						   * this time, by LogAppendTime; see client.h */
	int64 proof_ms;       /* the same, once such a stop was taken */

	/* Probing for a start after "no such record" */
	bool probing;
	int64 hit_ms;  /* a time with a hit, or <= 0 */
	int64 miss_ms; /* a later time without one */
	int64 hit_offset;
	int64 step_ms;
} Piece;

typedef struct PieceList
{
	Piece *pieces;
	int npieces;
	int capacity;
} PieceList;

/* ----------------------------------------------------------------
 * Which pieces there are
 * ----------------------------------------------------------------
 */

static void
add_piece(PieceList *list, Piece piece)
{
	if (list->npieces == list->capacity)
	{
		list->capacity = Max(list->capacity * 2, 16);
		list->pieces = list->pieces ? repalloc(list->pieces,
											   sizeof(Piece) * list->capacity)
									: palloc(sizeof(Piece) * list->capacity);
	}
	list->pieces[list->npieces++] = piece;
}

static void
collect_pieces(KafkaReader *reader, const KafkaBounds *bounds, PieceList *list)
{
	KafkaSlice *slices = palloc(sizeof(KafkaSlice) * KAFKA_BOUNDS_MAX_BOXES);

	for (int t = 0; t < reader->ntopics; t++)
	{
		KafkaSnapshotTopic *topic = reader->topics[t];

		for (int i = 0; i < topic->nparts; i++)
		{
			KafkaSnapshotPart *part = &topic->parts[i];
			Piece piece = {.topic = topic, .topic_index = t, .part = part};
			int nslices;

			if (!kafka_option_has_partition(reader->table, part->partition))
			{
				reader->pruned.by_table++;
				continue;
			}
			nslices = kafka_bounds_slices(bounds, part->partition,
										  topic->nparts, slices);
			reader->pruned.by_condition += (nslices == 0);
			reader->pruned.empty += (nslices > 0);
			for (int s = 0; s < nslices; s++)
			{
				piece.offset =
					kafka_range_intersect(slices[s].offset,
										  (KafkaRange){0, part->end});
				piece.time_ms = slices[s].time_ms;
				if (kafka_range_is_empty(piece.offset) ||
					kafka_range_is_empty(piece.time_ms))
					continue;
				add_piece(list, piece);
			}
		}
	}
	pfree(slices);
}

/* ----------------------------------------------------------------
 * Lookups for many pieces at once
 * ----------------------------------------------------------------
 */

typedef bool (*PieceTest)(const Piece *piece);
typedef int64 (*PieceTime)(const Piece *piece, int64 slack_ms);
typedef void (*PieceAnswer)(Piece *piece, int64 offset);

static void take_stop(Piece *piece, int64 offset);

/* Looks up one time for each piece that passes the test. */
static void
look_up_pieces(KafkaReader *reader, PieceList *list, PieceTest test,
			   PieceTime time_of, int64 slack_ms, PieceAnswer answer)
{
	KafkaAnswers *answers = kafka_reader_answers(reader);

	for (int i = 0; i < list->npieces; i++)
	{
		const Piece *piece = &list->pieces[i];

		if (test(piece))
			kafka_answers_want(answers, piece->topic_index, piece->topic->name,
							   piece->part->partition,
							   time_of(piece, slack_ms), answer == take_stop);
	}
	kafka_answers_ask(answers, reader->client);
	for (int i = 0; i < list->npieces; i++)
	{
		Piece *piece = &list->pieces[i];
		int64 time_ms;
		int64 offset;

		if (!test(piece))
			continue;
		time_ms = time_of(piece, slack_ms);
		offset = kafka_answers_get(answers, piece->topic_index,
								   piece->part->partition, time_ms);
		kafka_seen_note_time(reader->connection, piece->topic->name,
							 piece->part->partition, time_ms, offset);
		answer(piece, offset);
	}
}

/* ----------------------------------------------------------------
 * Starts
 * ----------------------------------------------------------------
 */

/*
 * A negative time would be a sentinel to the broker ("end", "start", ...), so
 * times up to 1970 mean "from the log start".
 */
static bool
has_start_time(const Piece *piece)
{
	return piece->time_ms.start > 0 && !kafka_range_is_empty(piece->offset);
}

static int64
start_time(const Piece *piece, int64 slack_ms)
{
	return piece->time_ms.start;
}

static void
take_start(Piece *piece, int64 offset)
{
	piece->probing = (offset == KAFKA_NO_OFFSET);
	piece->start_in_log = offset >= piece->offset.start;
	if (piece->start_in_log)
		piece->offset.start = offset;
}

static bool
is_probing(const Piece *piece)
{
	return piece->probing;
}

/* Steps back from the miss, further each time, while there is no hit. */
static int64
probe_time(const Piece *piece, int64 slack_ms)
{
	if (piece->hit_offset == KAFKA_NO_OFFSET)
		return Max(piece->miss_ms - piece->step_ms, 1);
	return piece->hit_ms + (piece->miss_ms - piece->hit_ms) / 2;
}

/* Is a start there good enough, however late what is wanted? */
static bool
is_late(const KafkaSnapshotPart *part, int64 offset)
{
	return part->end - offset <= GOOD_START_OFFSETS;
}

/*
 * Narrows [hit, miss).  Ends at a hit near enough to the end of what is
 * wanted, when the two times meet, or at the log start.  A hit near the end of
 * all will do for later times, too.
 */
static void
take_probe(Piece *piece, int64 offset)
{
	int64 asked_ms = probe_time(piece, 0);

	if (offset != KAFKA_NO_OFFSET)
	{
		piece->hit_ms = asked_ms;
		piece->hit_offset = offset;
	}
	else
	{
		piece->miss_ms = asked_ms;
		piece->step_ms *= 2;
		if (asked_ms <= 1 && piece->hit_offset == KAFKA_NO_OFFSET)
		{
			piece->probing = false; /* from the log start */
			return;
		}
	}
	if (piece->hit_offset == KAFKA_NO_OFFSET)
		return;
	if (piece->offset.end - piece->hit_offset <= GOOD_START_OFFSETS ||
		piece->miss_ms - piece->hit_ms <= 1)
	{
		piece->offset.start = Max(piece->offset.start, piece->hit_offset);
		piece->probing = false;
		if (is_late(piece->part, piece->hit_offset) &&
			piece->hit_ms > piece->part->late_ms)
		{
			piece->part->late_ms = piece->hit_ms;
			piece->part->late_offset = piece->hit_offset;
		}
	}
}

/* What "no such record" means for each piece that was told so. */
static bool
settle_misses(KafkaReader *reader, PieceList *list)
{
	const KafkaSnapshotTopic *asked = NULL;
	bool any = false;

	for (int i = 0; i < list->npieces; i++)
	{
		Piece *piece = &list->pieces[i];
		KafkaTopicSettings settings;

		if (!piece->probing)
			continue;
		if (piece->part->late_ms > 0 &&
			piece->part->late_ms <= piece->time_ms.start)
		{
			piece->probing = false;
			piece->offset.start =
				Max(piece->offset.start, piece->part->late_offset);
			continue;
		}

		/* Older starts do not tell what was in the log for the lookup. */
		if (piece->topic != asked)
			kafka_reader_ask_starts(reader, piece->topic);
		asked = piece->topic;
		settings = kafka_client_topic_settings(reader->client,
											   piece->topic->name, true);
		if (settings.known && settings.delete_only && piece->part->start == 0)
		{
			piece->probing = false;
			piece->offset = KAFKA_RANGE_NONE;
			continue;
		}
		piece->miss_ms = piece->time_ms.start;
		piece->hit_offset = KAFKA_NO_OFFSET;
		piece->step_ms = FIRST_STEP_BACK_MS;
		any = true;
	}
	return any;
}

static void
resolve_starts(KafkaReader *reader, PieceList *list)
{
	look_up_pieces(reader, list, has_start_time, start_time, 0, take_start);
	if (settle_misses(reader, list))
	{
		bool probing = true;

		while (probing)
		{
			look_up_pieces(reader, list, is_probing, probe_time, 0,
						   take_probe);
			probing = false;
			for (int i = 0; i < list->npieces; i++)
				probing |= list->pieces[i].probing;
		}
	}
}

/* ----------------------------------------------------------------
 * Stops
 * ----------------------------------------------------------------
 */

static bool
has_stop_time(const Piece *piece)
{
	return piece->time_ms.end < PG_INT64_MAX &&
		   !kafka_range_is_empty(piece->offset);
}

static int64
stop_time(const Piece *piece, int64 slack_ms)
{
	return kafka_window_stop_time(piece->time_ms.end, slack_ms);
}

/*
 * Takes the answer for the stop; no record that late means the end snapshot.
 *
 * A stop that needs proof is proved by the first record at or past it, which
 * the cursor meets only if it reads up to there: so a range that would be
 * empty keeps one offset, and one that begins past the stop gets none.
 */
static void
take_stop(Piece *piece, int64 offset)
{
	if (offset == KAFKA_NO_OFFSET)
		return;
	if (piece->needs_proof_ms != 0)
	{
		if (offset < piece->offset.start)
			return;
		offset = Max(offset, piece->offset.start + 1);
	}
	if (offset >= piece->offset.end)
		return;
	piece->offset.end = offset;
	piece->proof_ms = piece->needs_proof_ms;
}

/* Like kafka_window_disorder, by the topic's settings as they are now. */
static int64
disorder_of(KafkaReader *reader, const char *topic, KafkaStopReason *reason)
{
	KafkaTopicSettings settings = {0};

	if (!reader->table->disorder_declared)
		settings = kafka_client_topic_settings(reader->client, topic, true);
	kafka_seen_note_settings(reader->connection, topic, &settings);
	return kafka_window_disorder(reader, &settings, reason);
}

/* Limits the list to one topic's pieces, which lie together. */
static PieceList
pieces_of_topic(const PieceList *list, const KafkaSnapshotTopic *topic)
{
	PieceList sub = *list;

	sub.npieces = 0;
	for (int i = 0; i < list->npieces; i++)
	{
		if (list->pieces[i].topic != topic)
			continue;
		if (sub.npieces++ == 0)
			sub.pieces = &list->pieces[i];
	}
	return sub;
}

static bool
any_piece(const PieceList *list, PieceTest test)
{
	for (int i = 0; i < list->npieces; i++)
	{
		if (test(&list->pieces[i]))
			return true;
	}
	return false;
}

static void
resolve_stops(KafkaReader *reader, PieceList *list)
{
	for (int t = 0; t < reader->ntopics; t++)
	{
		PieceList sub = pieces_of_topic(list, reader->topics[t]);
		KafkaStopReason reason;
		int64 slack_ms;

		if (!any_piece(&sub, has_stop_time))
			continue;
		slack_ms = disorder_of(reader, reader->topics[t]->name, &reason);

		/* Of several topics the least bounded is worth telling. */
		reader->stop_reason = Max(reader->stop_reason, reason);
		for (int i = 0; i < sub.npieces; i++)
			sub.pieces[i].needs_proof_ms =
				reason == KAFKA_STOP_LOG_APPEND_TIME
					? stop_time(&sub.pieces[i], slack_ms)
					: 0;
		if (slack_ms >= 0)
			look_up_pieces(reader, &sub, has_stop_time, stop_time, slack_ms,
						   take_stop);
	}
}

/* ----------------------------------------------------------------
 * Putting it together
 * ----------------------------------------------------------------
 */

/* May times be looked up at all? */
static bool
index_is_trusted(KafkaReader *reader)
{
	if (reader->table->trust_time_index != KAFKA_TRUST_DEFAULT)
		return reader->table->trust_time_index == KAFKA_TRUST_YES;
	for (int t = 0; t < reader->ntopics; t++)
	{
		KafkaTopicSettings settings;

		settings = kafka_client_topic_settings(reader->client,
											   reader->topics[t]->name, false);
		if (settings.known && settings.remote_storage)
			return false;
	}
	return true;
}

static bool
has_time(const Piece *piece)
{
	return has_start_time(piece) || has_stop_time(piece);
}

/* Notes the questions of all pieces, to be asked together. */
static void
want_pieces(KafkaReader *reader, const PieceList *list)
{
	const KafkaSnapshotTopic *topic = NULL;
	int64 slack_ms = -1;

	for (int i = 0; i < list->npieces; i++)
	{
		const Piece *piece = &list->pieces[i];

		if (piece->topic != topic)
			(void) kafka_window_guess(reader, piece->topic->name, &slack_ms);
		topic = piece->topic;
		kafka_window_want_times(reader, piece->topic_index, topic->name,
								piece->part->partition, piece->time_ms,
								slack_ms);
	}
}

/* Nothing below the log start can be read; asking for it is an error. */
static void
clip_to_log_starts(KafkaReader *reader, PieceList *list)
{
	for (int i = 0; i < list->npieces; i++)
	{
		Piece *piece = &list->pieces[i];

		if (kafka_range_is_empty(piece->offset) || piece->start_in_log)
			continue;
		kafka_reader_need_starts(reader, piece->topic);
		piece->offset.start = Max(piece->offset.start, piece->part->start);
		piece->start_in_log = true;
	}
}

/* Begins the KafkaReadPart of a partition. */
static KafkaReadPart *
add_part(KafkaReader *reader, const Piece *piece)
{
	KafkaReadPart *part = &reader->parts[reader->nparts++];

	part->topic = piece->topic->name;
	part->partition = piece->part->partition;
	part->end = piece->part->end;
	part->ranges = palloc(sizeof(KafkaRange) * KAFKA_BOUNDS_MAX_BOXES);
	part->proofs_ms = palloc0(sizeof(int64) * KAFKA_BOUNDS_MAX_BOXES);
	return part;
}

/*
 * Finds the proof that the end of each merged range needs: that of the piece
 * which ends there.  Where several do, the latest time proves it for all.
 */
static void
collect_proofs(KafkaReader *reader, const PieceList *list)
{
	KafkaReadPart *part = reader->parts;

	for (int i = 0; i < list->npieces; i++)
	{
		const Piece *piece = &list->pieces[i];

		if (kafka_range_is_empty(piece->offset))
			continue;
		while (part->partition != piece->part->partition ||
			   part->topic != piece->topic->name)
			part++;
		for (int r = 0; r < part->nranges; r++)
		{
			if (part->ranges[r].end == piece->offset.end)
				part->proofs_ms[r] = Max(part->proofs_ms[r], piece->proof_ms);
		}
	}
}

/* Makes one KafkaReadPart of the pieces of each partition. */
static void
build_parts(KafkaReader *reader, PieceList *list)
{
	KafkaReadPart *part = NULL;
	KafkaSnapshotPart *source = NULL;

	reader->parts = palloc0(sizeof(KafkaReadPart) * Max(list->npieces, 1));
	reader->nparts = 0;
	for (int i = 0; i < list->npieces; i++)
	{
		Piece *piece = &list->pieces[i];

		if (kafka_range_is_empty(piece->offset))
			continue;
		if (piece->part != source)
		{
			source = piece->part;
			part = add_part(reader, piece);
		}
		part->ranges[part->nranges++] = piece->offset;
	}
	for (int i = 0; i < reader->nparts; i++)
		reader->parts[i].nranges = kafka_range_merge(reader->parts[i].ranges,
													 reader->parts[i].nranges);
	collect_proofs(reader, list);
}

void
kafka_window_resolve(KafkaReader *reader, const KafkaBounds *bounds)
{
	PieceList list = {0};

	reader->stop_reason = KAFKA_STOP_NO_TIME_BOUND;
	reader->pruned = (KafkaPruned){0};
	collect_pieces(reader, bounds, &list);
	if (any_piece(&list, has_time))
	{
		if (index_is_trusted(reader))
		{
			want_pieces(reader, &list);
			resolve_starts(reader, &list);
			clip_to_log_starts(reader, &list);
			resolve_stops(reader, &list);
		}
		else
			reader->stop_reason = KAFKA_STOP_INDEX_NOT_TRUSTED;
	}
	clip_to_log_starts(reader, &list);
	build_parts(reader, &list);
	reader->pruned.empty -= reader->nparts;
	if (reader->nparts == 0)
		reader->stop_reason = KAFKA_STOP_NOTHING;
}

const char *
kafka_stop_reason_text(KafkaStopReason reason)
{
	switch (reason)
	{
		case KAFKA_STOP_NOTHING:
			return "no offset can match";
		case KAFKA_STOP_NO_TIME_BOUND:
			return "end of topic";
		case KAFKA_STOP_DECLARED:
			return "by the table's timestamp_max_lag and timestamp_max_lead";
		case KAFKA_STOP_TOPIC_LIMITS:
			return "by the topic's message.timestamp.before.max.ms and message.timestamp.after.max.ms";
		case KAFKA_STOP_LOG_APPEND_TIME:
			return "by the broker's LogAppendTime";
		case KAFKA_STOP_UNBOUNDED_DISORDER:
			return "end of topic: nothing bounds how late records come; declare the table option timestamp_max_lag";
		case KAFKA_STOP_INDEX_NOT_TRUSTED:
			return "end of topic: the time index is not trusted (trust_time_index)";
	}
	return NULL;
}
