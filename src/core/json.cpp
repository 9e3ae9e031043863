/*-------------------------------------------------------------------------
 *
 * json.cpp
 *		Picks chosen fields out of JSON documents, validating all of each.
 *
 * A document is copied into a buffer of the parser's own, for its values
 * must outlive the message and tokens are read a word at a time.  simdjson
 * then finds at SIMD speed where every token starts and checks UTF-8, control
 * characters and closing quotes.  What follows is one walk over that index,
 * which checks the grammar and every token, also of values that nobody asked
 * for.  simdjson's own parsers are not used: they do not judge what they
 * skip, their number types lose digits, and they limit the depth.
 *
 * Two facts about the index carry the walk.  Each character outside strings
 * that is no blank is either a token start or part of a number or literal,
 * so that checking each token up to the next start leaves no gap.  And the
 * index ends with an entry for the end of the text, where a zero byte stands:
 * whoever expects a token there sees one that fits nowhere, so that no step
 * needs to look for the end.
 *
 * The walk is in a "wanted" object while that and every object around it
 * are in the tree of names (json_names.h), one frame for each; anything else
 * is checked by skip_container.  Neither recurses, so that depth is bounded
 * by memory alone.
 *
 * Nothing here throws: simdjson's functions are noexcept and report lack of
 * memory, and all other memory comes from malloc or nothrow new.
 *
 * IDENTIFICATION
 *		src/core/json.cpp
 *
 *-------------------------------------------------------------------------
 */
#include <memory>
#include <new>
#include <stdlib.h>

#include <simdjson.h>

#include "json.h"
#include "json_names.h"
#include "json_token.h"

/* jsonb_in surely takes no more than these; see KafkaJsonResult.ask_server */
#define SURE_DEPTH 512
#define SURE_LENGTH_BYTES ((size_t) 16 << 20)

/* PostgreSQL's own limit of a value, and within simdjson's of 4 GB */
#define MAX_LENGTH_BYTES (((size_t) 1 << 30) - 1)

/*
 * The buffers, about five bytes for each of a document, are kept between
 * documents.  After a document above the retained size they are cut back
 * once so many documents in a row would have done with a quarter of them.
 */
#define INITIAL_CAPACITY_BYTES ((size_t) 4096)
#define RETAINED_CAPACITY_BYTES ((size_t) 1 << 20)
#define SMALL_DOCUMENTS_BEFORE_SHRINK 32

/* A wanted object that the walk is in. */
struct Frame
{
	int object;
	KafkaJsonValue *open; /* value of the member being walked if that is
						   * itself an object wanted, else NULL */
};

struct KafkaJson
{
	int nfields;
	WantedNames names;
	std::unique_ptr<simdjson::internal::dom_parser_implementation> indexer;

	/* Of the current document */
	KafkaJsonValue *nested; /* values of dotted paths, reached by their
							 * components */
	Frame *frames;          /* one for each component of a path */
	char *text;             /* the document, zero-padded */
	char *unescaped;        /* content of strings with escapes; NULL until
							 * the first such document */
	uint8_t *kinds;         /* a bit for each level of skip_container */
	size_t capacity;        /* documents shorter than this fit */
	int small_documents;    /* in a row */
};

/* What one member of a wanted object led to. */
enum MemberStep
{
	MEMBER_FAILED,
	MEMBER_DONE,
	MEMBER_OPENED /* its value is a wanted object */
};

extern "C" KafkaJson *
kafka_json_create(const char *const *paths, int nfields)
{
	KafkaJson *json = new (std::nothrow) KafkaJson();

	if (json == NULL)
		return NULL;
	json->nfields = nfields;
	if (create_names(&json->names, paths, nfields))
	{
		size_t nnested = (size_t) json->names.nnested;
		size_t nframes = (size_t) json->names.max_components;

		json->nested =
			(KafkaJsonValue *) allocate_array(nnested, sizeof(KafkaJsonValue));
		json->frames = (Frame *) allocate_array(nframes, sizeof(Frame));
	}

	/* A depth of 1, since only the parsers not used here need more. */
	if (json->nested == NULL || json->frames == NULL ||
		simdjson::get_active_implementation()
				->create_dom_parser_implementation(0, 1, json->indexer) !=
			simdjson::SUCCESS)
	{
		kafka_json_destroy(json);
		return NULL;
	}
	return json;
}

extern "C" void
kafka_json_destroy(KafkaJson *json)
{
	if (json == NULL)
		return;
	destroy_names(&json->names);
	free(json->nested);
	free(json->frames);
	free(json->text);
	free(json->unescaped);
	delete json;
}

/* ---------------------------------------------------------------------
 * Buffers
 * ---------------------------------------------------------------------
 */

/*
 * Makes the buffers fit documents shorter than capacity.  What they held is
 * lost.  When there is no memory they fit none, and the next document tries
 * again.
 */
static bool
resize_buffers(KafkaJson *json, size_t capacity)
{
	size_t size;

	free(json->text);
	free(json->unescaped);
	json->unescaped = NULL;
	json->indexer->structural_indexes.reset();
	json->capacity = 0;
	json->small_documents = 0;

	/*
	 * One bit of kinds is enough for each byte, since a bracket opens a level.
	 * The indexer loads blocks of 64 bytes, which cost twice as much where
	 * they straddle cache lines.
	 */
	size = capacity + KAFKA_JSON_PADDING + capacity / 8 + 1;
	json->text = (char *) aligned_alloc(64, (size + 63) / 64 * 64);
	if (json->text == NULL ||
		json->indexer->set_capacity(capacity) != simdjson::SUCCESS)
		return false;
	json->kinds = (uint8_t *) json->text + capacity + KAFKA_JSON_PADDING;
	json->capacity = capacity;
	return true;
}

/*
 * Makes sure that a document of this length fits, and gives back what a rare
 * huge one has left behind.
 */
static inline bool
prepare_buffers(KafkaJson *json, size_t length)
{
	size_t capacity;

	if (KAFKA_JSON_LIKELY(length < json->capacity &&
						  json->capacity <= RETAINED_CAPACITY_BYTES))
		return true;
	if (length >= json->capacity)
	{
		capacity = json->capacity + json->capacity / 2;
		if (capacity < INITIAL_CAPACITY_BYTES)
			capacity = INITIAL_CAPACITY_BYTES;
		if (capacity <= length)
			capacity = length + 1;
		return resize_buffers(json, capacity);
	}
	if (length > json->capacity / 4)
		json->small_documents = 0;
	else if (++json->small_documents >= SMALL_DOCUMENTS_BEFORE_SHRINK)
		return resize_buffers(json, length >= RETAINED_CAPACITY_BYTES / 2
										? length + 1
										: RETAINED_CAPACITY_BYTES / 2);
	return true;
}

/* ---------------------------------------------------------------------
 * Containers
 * ---------------------------------------------------------------------
 */

/* Notes that a container opened. */
ALWAYS_INLINE void
enter(Walk *walk)
{
	if (KAFKA_JSON_UNLIKELY(++walk->depth > SURE_DEPTH))
		walk->ask_server = true;
}

/* Reads the key and the colon that the next two tokens should be. */
ALWAYS_INLINE bool
read_key(Walk *walk, const uint32_t *next, KafkaJsonValue *key)
{
	size_t start = next[0];
	size_t colon = next[1];

	if (KAFKA_JSON_UNLIKELY(walk->text[start] != '"'))
		return fail(walk, "A key of an object is expected", start);
	if (KAFKA_JSON_UNLIKELY(walk->text[colon] != ':'))
		return fail(walk, "A colon is expected behind a key", colon);
	return read_string(walk, start, colon, key);
}

/*
 * Checks the rest of a container whose opening bracket has been read.
 * Returns the place behind its closing bracket, or NULL when it is malformed.
 */
static const uint32_t *
skip_container(KafkaJson *json, Walk *walk, const uint32_t *next, bool object)
{
	const char *text = walk->text;
	uint8_t *kinds = json->kinds;
	size_t outer_depth = walk->depth;
	KafkaJsonValue ignored;
	size_t start;

opened:
	enter(walk);
	if (text[*next] == (object ? '}' : ']'))
	{
		next++;
		goto closed;
	}

element:
	if (object)
	{
		if (!read_key(walk, next, &ignored))
			return NULL;
		next += 2;
	}
	start = *next++;
	if (text[start] == '{' || text[start] == '[')
	{
		size_t level = walk->depth;
		uint8_t bit = (uint8_t) (1 << (level & 7));

		/* Remember what this one is part of. */
		if (object)
			kinds[level >> 3] |= bit;
		else
			kinds[level >> 3] &= (uint8_t) ~bit;
		object = text[start] == '{';
		goto opened;
	}
	if (!read_scalar(walk, start, *next, &ignored))
		return NULL;

behind_value:
	start = *next++;
	if (text[start] == ',')
		goto element;
	if (text[start] != (object ? '}' : ']'))
	{
		fail(walk,
			 object ? "A comma or closing brace is expected"
					: "A comma or closing bracket is expected",
			 start);
		return NULL;
	}

closed:
	if (--walk->depth == outer_depth)
		return next;
	object = (kinds[walk->depth >> 3] >> (walk->depth & 7)) & 1;
	goto behind_value;
}

/* Forgets what an earlier occurrence of this key had below it. */
ALWAYS_INLINE void
clear_covered(KafkaJson *json, const WantedKey *key)
{
	const CoveredValue *covered = json->names.covered;
	int i;

	for (i = key->covers; i != NONE; i = covered[i].next)
		memset(&json->nested[covered[i].nested], 0, sizeof(KafkaJsonValue));
}

/* Completes a container's value; its closing bracket was the last token. */
ALWAYS_INLINE void
close_value(const Walk *walk, const uint32_t *next, KafkaJsonValue *value)
{
	if (value != NULL)
	{
		value->raw_length = (size_t) (walk->text + next[-1] + 1 - value->raw);
		value->length = value->raw_length;
	}
}

/*
 * Walks one member of the wanted object of a frame, and moves *next past it,
 * or past its value's opening brace if that is a wanted object, too.
 */
ALWAYS_INLINE MemberStep
walk_member(KafkaJson *json, Walk *walk, const uint32_t **next, Frame *frame,
			KafkaJsonValue *values)
{
	KafkaJsonValue name;
	KafkaJsonValue *value = NULL;
	const WantedKey *key;
	size_t start;
	bool object;

	if (!read_key(walk, *next, &name))
		return MEMBER_FAILED;
	start = (*next)[2];
	*next += 3;
	object = walk->text[start] == '{';
	key = find_key(&json->names, frame->object, name.text, name.length);
	if (key != NULL)
	{
		clear_covered(json, key);
		if (key->value != NONE)
			value = frame->object == ROOT_OBJECT ? &values[key->value]
												 : &json->nested[key->value];
	}
	if (!object && walk->text[start] != '[')
	{
		KafkaJsonValue scalar;

		if (!read_scalar(walk, start, **next, &scalar))
			return MEMBER_FAILED;
		if (value != NULL)
			*value = scalar;
		return MEMBER_DONE;
	}
	if (value != NULL)
	{
		value->kind = object ? KAFKA_JSON_OBJECT : KAFKA_JSON_ARRAY;
		value->raw = walk->text + start;
		value->text = value->raw;
	}
	if (object && key != NULL && key->child != NONE)
	{
		frame->open = value;
		frame[1].object = key->child;
		return MEMBER_OPENED;
	}
	*next = skip_container(json, walk, *next, object);
	if (*next == NULL)
		return MEMBER_FAILED;
	close_value(walk, *next, value);
	return MEMBER_DONE;
}

/*
 * Walks the root object, whose opening brace has been read.  Returns the
 * place behind its closing brace, or NULL when it is malformed.
 */
static inline const uint32_t *
walk_root(KafkaJson *json, Walk *walk, const uint32_t *next,
		  KafkaJsonValue *values)
{
	Frame *frame = json->frames;
	size_t start;

	frame->object = ROOT_OBJECT;

opened:
	enter(walk);
	if (walk->text[*next] == '}')
	{
		next++;
		goto closed;
	}

member:
	switch (walk_member(json, walk, &next, frame, values))
	{
		case MEMBER_FAILED:
			return NULL;
		case MEMBER_OPENED:
			frame++;
			goto opened;
		case MEMBER_DONE:
			break;
	}

behind_member:
	start = *next++;
	if (KAFKA_JSON_LIKELY(walk->text[start] == ','))
		goto member;
	if (walk->text[start] != '}')
	{
		fail(walk, "A comma or closing brace is expected", start);
		return NULL;
	}

closed:
	walk->depth--;
	if (frame == json->frames)
		return next;
	frame--;
	close_value(walk, next, frame->open);
	goto behind_member;
}

/* ---------------------------------------------------------------------
 * Documents
 * ---------------------------------------------------------------------
 */

/*
 * Copies and indexes a document.  Returns false with the result's status set
 * when that shows that it is no JSON, or there is no memory.
 */
static inline bool
index_document(KafkaJson *json, const char *document, size_t length,
			   KafkaJsonResult *result)
{
	simdjson::error_code error;

	if (KAFKA_JSON_UNLIKELY(length > MAX_LENGTH_BYTES))
	{
		result->reason = "The document is longer than 1 GB";
		return false;
	}
	if (!prepare_buffers(json, length))
	{
		result->status = KAFKA_JSON_NO_MEMORY;
		return false;
	}
	if (length > 0)
		memcpy(json->text, document, length);
	memset(json->text + length, 0, KAFKA_JSON_PADDING);
	error = json->indexer->stage1((const uint8_t *) json->text, length,
								  simdjson::stage1_mode::regular);
	if (KAFKA_JSON_LIKELY(error == simdjson::SUCCESS))
		return true;
	if (error == simdjson::EMPTY)
		result->reason = "The document is empty";
	else
		result->reason =
			find_text_fault(json->text, length, &result->position);
	return false;
}

/*
 * Sets up the walk over the document.  Returns false when there is no memory
 * for the contents of strings with escapes.
 */
static inline bool
start_walk(KafkaJson *json, Walk *walk, size_t length)
{
	walk->text = json->text;
	walk->length = length;
	walk->depth = 0;
	walk->reason = NULL;
	walk->position = 0;
	walk->ask_server = length > SURE_LENGTH_BYTES;
	find_backslash(walk, 0);
	if (KAFKA_JSON_UNLIKELY(walk->backslash != SIZE_MAX &&
							json->unescaped == NULL))
	{
		/*
		 * Contents, one byte behind each, are never longer than the strings
		 * with their quotes, and keys are compared a word at a time.
		 */
		json->unescaped = (char *) malloc(json->capacity + KAFKA_JSON_PADDING);
		if (json->unescaped == NULL)
			return false;
	}
	walk->unescaped = json->unescaped;
	return true;
}

/* Walks the whole document, whatever its root is. */
static inline bool
walk_document(KafkaJson *json, Walk *walk, KafkaJsonValue *values,
			  KafkaJsonStatus *status)
{
	const uint32_t *next = json->indexer->structural_indexes.get();
	size_t start = *next++;
	char first = walk->text[start];
	KafkaJsonValue ignored;

	*status = KAFKA_JSON_OK;
	if (KAFKA_JSON_LIKELY(first == '{'))
		next = walk_root(json, walk, next, values);
	else
	{
		*status = KAFKA_JSON_NOT_OBJECT;
		if (first == '[')
			next = skip_container(json, walk, next, false);
		else if (!read_scalar(walk, start, *next, &ignored))
			next = NULL;
	}
	if (next != NULL && KAFKA_JSON_UNLIKELY(*next != walk->length))
		return fail(walk, "Text follows the document", *next);
	return next != NULL;
}

/* Makes all values KAFKA_JSON_MISSING, which is zero. */
ALWAYS_INLINE void
clear_values(KafkaJsonValue *values, int count)
{
	if (count > 0)
		memset(values, 0, (size_t) count * sizeof(KafkaJsonValue));
}

/* Gives each field that has no key of its whole name the nested value. */
ALWAYS_INLINE void
complete_values(const KafkaJson *json, KafkaJsonValue *values)
{
	const WantedNames *names = &json->names;
	int i;

	for (i = 0; i < names->nnested; i++)
	{
		KafkaJsonValue *value = &values[names->nested_fields[i]];

		if (value->kind == KAFKA_JSON_MISSING)
			*value = json->nested[i];
	}
	for (i = 0; i < names->nrepeated; i++)
		values[names->repeated[i].field] = values[names->repeated[i].original];
}

extern "C" KafkaJsonResult
kafka_json_parse(KafkaJson *json, const char *document, size_t length,
				 KafkaJsonValue *values)
{
	KafkaJsonResult result = {KAFKA_JSON_INVALID, NULL, 0, false};
	KafkaJsonStatus status;
	Walk walk;

	if (!index_document(json, document, length, &result))
		return result;
	if (!start_walk(json, &walk, length))
	{
		result.status = KAFKA_JSON_NO_MEMORY;
		return result;
	}
	clear_values(values, json->nfields);
	clear_values(json->nested, json->names.nnested);
	if (!walk_document(json, &walk, values, &status))
	{
		result.reason = walk.reason;
		result.position = walk.position;
		return result;
	}
	result.status = status;
	if (status == KAFKA_JSON_OK)
	{
		complete_values(json, values);
		result.ask_server = walk.ask_server;
	}
	else
		result.reason = "The document is no JSON object";
	return result;
}

extern "C" const char *
kafka_json_library_version(void)
{
	return SIMDJSON_STRINGIFY(SIMDJSON_VERSION);
}
