/*-------------------------------------------------------------------------
 *
 * window.h
 *		What window.c and ahead.c, which runs before it, share.
 *
 * IDENTIFICATION
 *		src/fdw/window.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef KAFKA_WINDOW_H
#define KAFKA_WINDOW_H

#include "fdw/reader.h"

/*
 * How far past a window's end records of the window may still come, in
 * milliseconds, and why; -1 when nothing bounds it.  settings need not be
 * valid where the table declares the disorder.
 */
extern int64 kafka_window_disorder(const KafkaReader *reader,
								   const KafkaTopicSettings *settings,
								   KafkaStopReason *reason);

/* The time to look up for the stop of a window that ends before end_ms. */
extern int64 kafka_window_stop_time(int64 end_ms, int64 slack_ms);

/*
 * Guesses, by the settings heard last, whether times of a topic are looked
 * up, and how far past a window's end the stop is, -1 for no stop.
 */
extern bool kafka_window_guess(KafkaReader *reader, const char *topic,
							   int64 *slack_ms);

/* Notes the questions for the start and the stop of one time window. */
extern void kafka_window_want_times(KafkaReader *reader, int topic_index,
									const char *topic, int32 partition,
									KafkaRange time_ms, int64 slack_ms);

#endif /* KAFKA_WINDOW_H */
