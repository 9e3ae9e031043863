/*-------------------------------------------------------------------------
 *
 * json_names.h
 *		The names of the fields wanted, as json.cpp looks them up.
 *
 * The names form a tree of objects, kept as one hash table of (object, key).
 * The root object holds every path as it is written, and the first component
 * of those with dots; the objects below it exist for the other components.
 *
 * IDENTIFICATION
 *		src/core/json_names.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_JSON_NAMES_H
#define KAFKA_JSON_NAMES_H

#include <stdlib.h>

#include "json_token.h"

#define ROOT_OBJECT 0
#define NONE (-1)

/* One key wanted in one object. */
typedef struct WantedKey
{
	uint64_t head; /* first eight bytes of name */
	uint64_t tail; /* last eight bytes, if it is that long */
	const char *name;
	size_t length;
	int object; /* in which it is wanted */
	int value;  /* number of the value it names, or NONE: in
				 * the root object a field, elsewhere a nested
				 * value */
	int child;  /* the object below it that has wanted keys,
				 * or NONE */
	int covers; /* list of the nested values below it, or
				 * NONE */
	int next;   /* in the same bucket, or NONE */
} WantedKey;

/* Element of a key's list. */
typedef struct CoveredValue
{
	int nested;
	int next; /* or NONE */
} CoveredValue;

/* A field that repeats the path of an earlier one. */
typedef struct RepeatedField
{
	int field;
	int original;
} RepeatedField;

typedef struct WantedNames
{
	WantedKey *keys;
	int nkeys;
	int nobjects;
	int max_components; /* of any path */
	int *buckets;       /* first key, or NONE */
	uint64_t bucket_mask;
	CoveredValue *covered;
	int ncovered;
	int *nested_fields; /* the field of each nested value */
	int nnested;
	RepeatedField *repeated;
	int nrepeated;
	char *text; /* all paths, one behind the other */
} WantedNames;

/*
 * Hashes a key.  Documents cannot make the table slow: it holds wanted keys
 * only, whose chains do not grow by what is looked up.
 */
static inline uint64_t
hash_key(int object, const char *name, size_t length, uint64_t head)
{
	const uint64_t multiplier = UINT64_C(0x9E3779B97F4A7C15);
	uint64_t hash = head + length + ((uint64_t) object << 32);
	size_t i;

	hash *= multiplier;
	for (i = 8; i < length; i += 8)
	{
		hash ^= hash >> 29;
		hash += load_head(name + i, length - i);
		hash *= multiplier;
	}
	return hash >> 32;
}

/* Is this the key's name?  Most names are compared as one or two words. */
static inline bool
is_named(const WantedKey *key, const char *name, size_t length, uint64_t head)
{
	if (key->head != head || key->length != length)
		return false;
	return length <= 8 ||
		   (key->tail == load_word(name + length - 8) &&
			(length <= 16 || memcmp(key->name, name, length) == 0));
}

/*
 * The wanted key of this name in this object, or NULL.  KAFKA_JSON_PADDING
 * bytes behind the name must be readable.
 */
static inline WantedKey *
find_key(const WantedNames *names, int object, const char *name, size_t length)
{
	uint64_t head = load_head(name, length);
	uint64_t hash = hash_key(object, name, length, head);
	int i;

	for (i = names->buckets[hash & names->bucket_mask]; i != NONE;
		 i = names->keys[i].next)
	{
		WantedKey *key = &names->keys[i];

		if (key->object == object && is_named(key, name, length, head))
			return key;
	}
	return NULL;
}

/* The same, but adds the key when it is new. */
static WantedKey *
add_key(WantedNames *names, int object, const char *name, size_t length)
{
	WantedKey *key = find_key(names, object, name, length);
	uint64_t bucket;

	if (key != NULL)
		return key;
	key = &names->keys[names->nkeys];
	key->head = load_head(name, length);
	key->tail = length > 8 ? load_word(name + length - 8) : 0;
	key->name = name;
	key->length = length;
	key->object = object;
	key->value = NONE;
	key->child = NONE;
	key->covers = NONE;
	bucket = hash_key(object, name, length, key->head) & names->bucket_mask;
	key->next = names->buckets[bucket];
	names->buckets[bucket] = names->nkeys++;
	return key;
}

/* Adds the way to a dotted path's value through nested objects. */
static void
add_nested_path(WantedNames *names, int field, const char *name, size_t length)
{
	const char *end = name + length;
	int object = ROOT_OBJECT;
	int nested = names->nnested++;
	int components = 1;

	names->nested_fields[nested] = field;
	for (;;)
	{
		const char *dot;
		const char *stop;
		WantedKey *key;

		dot = (const char *) memchr(name, '.', (size_t) (end - name));
		stop = dot == NULL ? end : dot;
		key = add_key(names, object, name, (size_t) (stop - name));
		if (dot == NULL)
		{
			key->value = nested;
			break;
		}
		names->covered[names->ncovered].nested = nested;
		names->covered[names->ncovered].next = key->covers;
		key->covers = names->ncovered++;
		if (key->child == NONE)
			key->child = names->nobjects++;
		object = key->child;
		name = dot + 1;
		components++;
	}
	if (components > names->max_components)
		names->max_components = components;
}

/* Adds one field's path. */
static void
add_path(WantedNames *names, int field, const char *name, size_t length)
{
	WantedKey *key = add_key(names, ROOT_OBJECT, name, length);

	if (key->value != NONE)
	{
		names->repeated[names->nrepeated].field = field;
		names->repeated[names->nrepeated].original = key->value;
		names->nrepeated++;
		return;
	}
	key->value = field;
	if (memchr(name, '.', length) != NULL)
		add_nested_path(names, field, name, length);
}

/* calloc that does not return NULL for a count of zero. */
static inline void *
allocate_array(size_t count, size_t size)
{
	return calloc(count == 0 ? 1 : count, size);
}

/*
 * Allocates the tables for so many fields, whose paths hold ndots dots and
 * name_bytes bytes together.  Returns false when there is no memory; the
 * caller destroys the names in either case.
 */
static bool
allocate_names(WantedNames *names, size_t nfields, size_t ndots,
			   size_t name_bytes)
{
	/* A path makes one key as a whole, and one for each component. */
	size_t max_keys = 2 * nfields + ndots;
	size_t nbuckets = 16;

	while (nbuckets < 4 * max_keys)
		nbuckets *= 2;
	names->bucket_mask = nbuckets - 1;
	names->keys = (WantedKey *) allocate_array(max_keys, sizeof(WantedKey));
	names->buckets = (int *) allocate_array(nbuckets, sizeof(int));
	names->covered =
		(CoveredValue *) allocate_array(ndots, sizeof(CoveredValue));
	names->nested_fields = (int *) allocate_array(nfields, sizeof(int));
	names->repeated =
		(RepeatedField *) allocate_array(nfields, sizeof(RepeatedField));
	names->text = (char *) allocate_array(name_bytes + KAFKA_JSON_PADDING, 1);
	if (names->buckets != NULL)
		memset(names->buckets, 0xFF, nbuckets * sizeof(int)); /* NONE */
	return names->keys != NULL && names->buckets != NULL &&
		   names->covered != NULL && names->nested_fields != NULL &&
		   names->repeated != NULL && names->text != NULL;
}

/*
 * Fills zeroed names from nfields paths, which are copied.  Returns false
 * when there is no memory; destroy_names frees them in either case.
 */
static bool
create_names(WantedNames *names, const char *const *paths, int nfields)
{
	size_t name_bytes = 0;
	size_t ndots = 0;
	char *name;
	int i;

	for (i = 0; i < nfields; i++)
	{
		const char *p;

		for (p = paths[i]; *p != '\0'; p++)
			ndots += *p == '.';
		name_bytes += (size_t) (p - paths[i]);
	}
	if (!allocate_names(names, (size_t) nfields, ndots, name_bytes))
		return false;
	names->nobjects = ROOT_OBJECT + 1;
	names->max_components = 1;
	name = names->text;
	for (i = 0; i < nfields; i++)
	{
		size_t length = strlen(paths[i]);

		memcpy(name, paths[i], length);
		add_path(names, i, name, length);
		name += length;
	}
	return true;
}

static void
destroy_names(WantedNames *names)
{
	free(names->keys);
	free(names->buckets);
	free(names->covered);
	free(names->nested_fields);
	free(names->repeated);
	free(names->text);
}

#endif /* KAFKA_JSON_NAMES_H */
