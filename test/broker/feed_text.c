/*
 * feed_text.c
 *	  Words, escapes, times and templates of the feeder's language (feed.c).
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "feed.h"

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	fail("\"%c\" is not a hexadecimal digit", c);
}

/* Reads one escape after its backslash; moves *in past it. */
static char
read_escape(char **in)
{
	char c = *(*in)++;
	int high;

	switch (c)
	{
		case 'n':
			return '\n';
		case 't':
			return '\t';
		case 'r':
			return '\r';
		case 'b':
			return '\b';
		case 'f':
			return '\f';
		case 'x':
			high = hex_digit(*(*in)++);
			return (char) (high * 16 + hex_digit(*(*in)++));
		case '\0':
			fail("backslash at end of line");
		default:
			if (isalnum((unsigned char) c))
				fail("unknown escape \"\\%c\"", c);
			return c;
	}
}

/* Reads one word at *in, writing it in place; *in ends behind it. */
static Word
read_word(char **in)
{
	Word word = {*in, 0, 0, false};
	char *out = *in;
	char quote = '\0';

	for (;;)
	{
		char c = **in;

		if (c == '\0')
		{
			if (quote)
				fail("unterminated quote");
			break;
		}
		if (!quote && (c == ' ' || c == '\t'))
		{
			(*in)++;
			break;
		}
		(*in)++;
		if (quote == '\'' && c == '\'' && **in == '\'')
			*out++ = *(*in)++;
		else if (quote && c == quote)
			quote = '\0';
		else if (!quote && (c == '\'' || c == '"'))
		{
			quote = c;
			word.quoted = true;
		}
		else if (c == '\\' && quote != '\'')
		{
			*out++ = read_escape(in);
			word.quoted = true;
		}
		else
		{
			*out++ = c;
			if (c == '=' && !quote && word.value_start == 0)
				word.value_start = out - word.data;
		}
	}
	word.length = out - word.data;
	*out = '\0';
	return word;
}

/*
 * Splits a line in place; returns the number of words.  A word that begins
 * with a bare # starts a comment.
 */
int
text_split(char *line, Word *words)
{
	int count = 0;

	for (;;)
	{
		while (*line == ' ' || *line == '\t')
			line++;
		if (*line == '\0' || *line == '#')
			return count;
		if (count == FEED_MAX_WORDS)
			fail("more than %d words", FEED_MAX_WORDS);
		words[count++] = read_word(&line);
	}
}

/* Unescapes a field of a copy block in place; returns NULL for \N. */
char *
text_unescape_field(char *field, size_t *length)
{
	char *in = field;
	char *out = field;

	*length = 0;
	if (strcmp(field, "\\N") == 0)
		return NULL;
	while (*in)
	{
		if (*in == '\\')
		{
			in++;
			*out++ = read_escape(&in);
		}
		else
			*out++ = *in++;
	}
	*length = out - field;
	*out = '\0';
	return field;
}

/* The value that begins at index start of the word; a bare NULL is none. */
Bytes
text_value(const Word *word, size_t start)
{
	Bytes value = {word->data + start, word->length - start};

	if (!word->quoted && strcmp(value.data, "NULL") == 0)
	{
		value.data = NULL;
		value.length = 0;
	}
	return value;
}

int64_t
text_integer(const char *text)
{
	char *end;
	long long result;

	errno = 0;
	result = strtoll(text, &end, 10);
	if (end == text || *end != '\0' || errno != 0)
		fail("\"%s\" is not an integer", text);
	return result;
}

/*
 * Milliseconds since 1970 from an integer, "now", "now-500", "now+500" or
 * "2024-05-01T12:00:00.250Z".
 */
int64_t
text_time_ms(const char *text)
{
	struct tm tm = {0};
	int ms = 0;
	int used = 0;

	if (strncmp(text, "now", 3) == 0)
	{
		struct timeval now;

		gettimeofday(&now, NULL);
		return (int64_t) now.tv_sec * 1000 + now.tv_usec / 1000 +
			   (text[3] ? text_integer(text + 3) : 0);
	}
	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon,
			   &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &used) != 6)
		return text_integer(text);
	text += used;
	if (*text == '.')
	{
		if (sscanf(text, ".%3d%n", &ms, &used) != 1 || used != 4)
			fail("a fraction of a second must have three digits");
		text += used;
	}
	if (strcmp(text, "Z") != 0)
		fail("a date must end with Z (UTC)");
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	return (int64_t) timegm(&tm) * 1000 + ms;
}

/* A fixed permutation of the 64-bit numbers (splitmix64). */
uint64_t
text_scramble(uint64_t n)
{
	n += UINT64_C(0x9e3779b97f4a7c15);
	n = (n ^ (n >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	n = (n ^ (n >> 27)) * UINT64_C(0x94d049bb133111eb);
	return n ^ (n >> 31);
}

/*
 * Evaluates "{n%7}" and the like at *in.  Returns false, and leaves *in
 * alone, where the brace is an ordinary one, as in JSON.
 */
static bool
read_placeholder(const char **in, int64_t n, int32_t partition,
				 int64_t time_ms, int64_t *result)
{
	const char *p = *in + 1;

	switch (*p++)
	{
		case 'n':
			*result = n;
			break;
		case 'p':
			*result = partition;
			break;
		case 't':
			*result = time_ms;
			break;
		case 'r':
			*result = (int64_t) (text_scramble((uint64_t) n) >> 1);
			break;
		default:
			return false;
	}
	while (*p && strchr("%/*+-", *p) && isdigit((unsigned char) p[1]))
	{
		char op = *p;
		char *end;
		int64_t operand = strtoll(p + 1, &end, 10);

		p = end;
		if ((op == '%' || op == '/') && operand == 0)
			fail("division by zero in a template");
		if (op == '%')
			*result %= operand;
		else if (op == '/')
			*result /= operand;
		else if (op == '*')
			*result *= operand;
		else if (op == '+')
			*result += operand;
		else
			*result -= operand;
	}
	if (*p != '}')
		return false;
	*in = p + 1;
	return true;
}

/*
 * Writes the template with its placeholders replaced into out and returns
 * the length: {n} number of the record, {p} partition, {t} time in ms, {r} a
 * pseudo-random number that depends on n alone, each with any of % / * + -
 * and an integer behind it, taken from left to right: {n/10%5}.
 */
size_t
text_expand(const char *template, int64_t n, int32_t partition,
			int64_t time_ms, char *out, size_t size)
{
	size_t length = 0;

	while (*template)
	{
		int64_t number;

		if (size - length < 32)
			fail("expanded template is longer than %zu bytes", size - 32);
		if (*template == '{' &&
			read_placeholder(&template, n, partition, time_ms, &number))
			length += snprintf(out + length, size - length, "%lld",
							   (long long) number);
		else
			out[length++] = *template ++;
	}
	out[length] = '\0';
	return length;
}
