/*-------------------------------------------------------------------------
 *
 * part.c
 *		Are the relations that a rollup is made of as they must be?
 *
 * They are ordinary relations, and their owner can do with them whatever SQL
 * can: drop them, give some of them away, take their durability, or the indexes
 * of joined tables by which a message was proved to count once.  Nothing tells
 * us of that, so each transaction that counts looks.
 *
 * IDENTIFICATION
 *		src/rollup/part.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "rollup/rollup.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Which roles may have a part beside the rollup's owner. */
typedef bool (*IsPartRight)(const KafkaRollup *rollup, Oid owner);

/* Code in a view of theirs would run with the owner's rights. */
static bool
is_owners(const KafkaRollup *rollup, Oid owner)
{
	return owner == rollup->owner;
}

static bool
is_ours(const KafkaRollup *rollup, Oid owner)
{
	return has_privs_of_role(GetUserId(), owner);
}

bool
kafka_rollup_has_parts(const KafkaRollup *rollup)
{
	return OidIsValid(rollup->source) && OidIsValid(rollup->relation) &&
		   OidIsValid(rollup->storage) && OidIsValid(rollup->states) &&
		   (OidIsValid(rollup->checks) || !rollup->has_checks);
}

static void
check_present(const KafkaRollup *rollup)
{
	if (kafka_rollup_has_parts(rollup))
		return;
	ereport(
		ERROR,
		(errcode(ERRCODE_UNDEFINED_TABLE),
		 errmsg(
			 "a table or view that the rollup is made of does not exist any more"),
		 errhint(
			 "Drop the rollup with kafka.drop_rollup and create it anew.")));
}

/*
 * A crash would empty the table, and leave the positions, which say that all
 * has been counted.
 */
static void
check_logged(const KafkaRollup *rollup)
{
	if (get_rel_persistence(rollup->storage) == RELPERSISTENCE_PERMANENT)
		return;
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("table \"%s\", in which a rollup is kept, is "
						   "unlogged",
						   get_rel_name(rollup->storage)),
					errdetail("A crash would empty it."),
					errhint("ALTER TABLE %s SET LOGGED;",
							kafka_relation_quote(rollup->storage))));
}

/* Raises an error where a part's owner is not right. */
static void
check_owners(const KafkaRollup *rollup, IsPartRight is_right)
{
	Oid parts[] = {rollup->storage, rollup->definition, rollup->states,
				   rollup->checks, rollup->live};
	char *owner = GetUserNameFromId(rollup->owner, false);
	StringInfoData names;
	StringInfoData remedy;

	initStringInfo(&names);
	initStringInfo(&remedy);
	for (int i = 0; i < lengthof(parts); i++)
	{
		Oid part_owner = kafka_relation_owner(parts[i]);

		if (!OidIsValid(part_owner) || is_right(rollup, part_owner))
			continue;
		appendStringInfo(&names, "%s\"%s\" to \"%s\"",
						 names.len > 0 ? ", " : "", get_rel_name(parts[i]),
						 GetUserNameFromId(part_owner, false));
		appendStringInfo(&remedy, " ALTER %s %s OWNER TO %s;",
						 parts[i] == rollup->storage ? "TABLE" : "VIEW",
						 kafka_relation_quote(parts[i]),
						 quote_identifier(owner));
	}
	if (names.len == 0)
		return;
	ereport(
		ERROR,
		(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		 errmsg("the relations of a rollup belong to different roles"),
		 errdetail("View \"%s\", and with it the rollup, belongs to \"%s\", "
				   "but %s.",
				   get_rel_name(rollup->relation), owner, names.data),
		 errhint("Give it to one role wholly, such as by%s", remedy.data)));
}

void
kafka_rollup_check_parts(const KafkaRollup *rollup)
{
	KafkaUserSwitch saved;

	check_present(rollup);
	check_logged(rollup);
	check_owners(rollup, is_owners);

	/* What may be read is the owner's affair; an error undoes the switch. */
	kafka_catalog_become(&saved, rollup->owner, NULL);
	kafka_rollup_prove_joins(rollup->states);
	kafka_catalog_restore_user(&saved);
}

void
kafka_rollup_check_droppable(const KafkaRollup *rollup)
{
	if (OidIsValid(rollup->relation))
		check_owners(rollup, is_ours);
}
