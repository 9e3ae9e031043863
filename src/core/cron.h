/*-------------------------------------------------------------------------
 *
 * cron.h
 *		Schedules as pg_cron knows them, and when they come next.
 *
 * Five fields, separated by blanks: minute, hour, day of month, month, day of
 * week.  Or one of @hourly, @daily (@midnight), @weekly, @monthly, @yearly
 * (@annually), @reboot (@restart).  All times are GMT, or those of a clock
 * that goes as that of GMT does.
 *
 * IDENTIFICATION
 *		src/core/cron.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_CRON_H
#define KAFKA_CRON_H

#include <stdbool.h>
#include <stdint.h>

/* A schedule; bit n of a set stands for n, of months and days too. */
typedef struct KafkaCron
{
	uint64_t minutes;
	uint64_t hours;
	uint64_t days;
	uint64_t months;
	uint64_t weekdays; /* 0 is Sunday, 7 is not in here */

	/*
	 * Must a day be in both sets?  Where neither field begins with a star, one
	 * of them is enough.
	 */
	bool both_days;
	bool is_reboot; /* when the server starts: at no time that is known */
} KafkaCron;

/*
 * Reads a schedule.  False when it is none; *detail is then a sentence that
 * says why, which lives for ever.  What pg_cron would pass over in silence is
 * refused too: text after the last field, or after a number in one.
 */
extern bool kafka_cron_parse(const char *text, KafkaCron *cron,
							 const char **detail);

/*
 * The first time after a time, in microseconds as timestamptz counts them, at
 * which a schedule comes.  False when it never does, as on 30 February, nor
 * for the infinities.
 */
extern bool kafka_cron_next(const KafkaCron *cron, int64_t after_us,
							int64_t *next_us);

#endif /* KAFKA_CRON_H */
