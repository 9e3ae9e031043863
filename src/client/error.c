/*-------------------------------------------------------------------------
 *
 * error.c
 *		The one place where a library error becomes an SQL error.
 *
 * The user of a foreign table may know no Kafka: the message says what did
 * not work, the detail what the library said, the hint what to do.
 *
 * IDENTIFICATION
 *		src/client/error.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "client/handle.h"

/* First library that computes SCRAM nonces as Kafka 4 demands. */
#define RDKAFKA_HAS_SCRAM_FIX 0x020601ff

bool
kafka_error_is_transient(rd_kafka_resp_err_t code)
{
	switch (code)
	{
		case RD_KAFKA_RESP_ERR__TIMED_OUT:
		case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
		case RD_KAFKA_RESP_ERR__TRANSPORT:
		case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
		case RD_KAFKA_RESP_ERR__RESOLVE:
		case RD_KAFKA_RESP_ERR__WAIT_CACHE:
		case RD_KAFKA_RESP_ERR__IN_PROGRESS:
		case RD_KAFKA_RESP_ERR__RETRY:
		case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
		case RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
		case RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION:
		case RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH:
		case RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH:
		case RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT:
		case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
		case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_NOT_COORDINATOR:
		case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
			return true;
		default:
			return false;
	}
}

static void
raise_authentication(KafkaClient *client, const char *text)
{
	bool scram = strstr(text, "SCRAM") != NULL;

	ereport(
		ERROR,
		(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
		 errmsg("could not log in to Kafka server \"%s\"",
				client->server_name),
		 errdetail("%s", text),
		 scram && rd_kafka_version() < RDKAFKA_HAS_SCRAM_FIX
			 ? errhint(
				   "Check the \"username\" and \"password\" options of the user mapping. With librdkafka %s, Kafka 4 refuses SCRAM even when the password is right; use PLAIN over TLS, or librdkafka 2.6.1 or later.",
				   rd_kafka_version_str())
			 : errhint(
				   "Check the \"username\" and \"password\" options of the user mapping, and the \"sasl_mechanism\" and \"security_protocol\" options of the server.")));
}

static void
raise_oversize(KafkaClient *client, const char *text)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		 errmsg(
			 "a message batch of Kafka server \"%s\" exceeds the memory limit",
			 client->server_name),
		 errdetail("%s", text),
		 errhint(
			 "Raise the \"memory_limit\" option of the server, now " INT64_FORMAT
			 " bytes.",
			 client->memory_limit_bytes)));
}

/*
 * Nobody answered.  The commonest cause on a first day is a broker that is
 * reached at one address and then names another one for itself; when any
 * broker has told its leaders' addresses, the detail lists them.
 */
static void
raise_unreachable(KafkaClient *client, const char *text)
{
	if (client->answered && client->advertised)
		ereport(
			ERROR,
			(errcode(ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
			 errmsg(
				 "could not reach the partition leaders of Kafka server \"%s\": %s",
				 client->server_name, text),
			 errdetail(
				 "A broker answered at \"%s\"; the brokers name themselves %s.",
				 client->brokers, client->advertised),
			 errhint(
				 "Check that this host can reach those addresses; they are the brokers' \"advertised.listeners\" setting.")));
	ereport(
		ERROR,
		(errcode(ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
		 errmsg("could not connect to Kafka server \"%s\": %s",
				client->server_name, text),
		 errdetail("No broker of \"%s\" answered within %lld ms.",
				   client->brokers, (long long) client->waited_ms),
		 errhint(
			 "Check the \"brokers\" and \"security_protocol\" options of the server, and that the brokers run.")));
}

static void
raise_timeout(KafkaClient *client, KafkaDoing doing, const char *text,
			  const char *topic, int32 partition)
{
	int limit_ms = doing == KAFKA_DOING_READ ? client->max_silence_ms
											 : client->fetch_timeout_ms;

	ereport(
		ERROR,
		(errcode(ERRCODE_FDW_UNABLE_TO_CREATE_REPLY),
		 topic ? errmsg("timed out reading topic \"%s\" partition %d", topic,
						partition)
			   : errmsg("timed out waiting for Kafka server \"%s\"",
						client->server_name),
		 errdetail("No answer within %d ms. The client library says: %s",
				   limit_ms, text),
		 errhint(
			 "Check the brokers, or raise the \"fetch_timeout\" option of the server.")));
}

static void
raise_unauthorized(KafkaClient *client, const char *text, const char *topic)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
		 topic ? errmsg("permission denied by Kafka for topic \"%s\"", topic)
			   : errmsg("permission denied by Kafka server \"%s\"",
						client->server_name),
		 errdetail("%s", text),
		 errhint(
			 "Grant the Kafka user READ and DESCRIBE on the topic, or change the user mapping.")));
}

static void
raise_topic_gone(const char *topic, const char *text)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_TABLE_NOT_FOUND),
			 errmsg("Kafka topic \"%s\" does not exist", topic ? topic : "?"),
			 errdetail("%s", text)));
}

/* The rest: the code's own category is all there is to say. */
static void
raise_other(KafkaClient *client, rd_kafka_resp_err_t code, const char *text,
			const char *topic, int32 partition)
{
	bool corrupt = code == RD_KAFKA_RESP_ERR__BAD_MSG ||
				   code == RD_KAFKA_RESP_ERR__BAD_COMPRESSION ||
				   code == RD_KAFKA_RESP_ERR_INVALID_MSG;

	ereport(ERROR,
			(errcode(corrupt ? ERRCODE_DATA_CORRUPTED : ERRCODE_FDW_ERROR),
			 topic ? errmsg("could not read topic \"%s\" partition %d: %s",
							topic, partition, text)
				   : errmsg("Kafka server \"%s\" reported an error: %s",
							client->server_name, text),
			 errdetail("librdkafka error %s.", rd_kafka_err2name(code))));
}

void
kafka_client_raise(KafkaClient *client, KafkaDoing doing,
				   rd_kafka_resp_err_t code, const char *text,
				   const char *topic, int32 partition)
{
	client->unfit = true;
	if (text == NULL)
		text = client->fault.code != RD_KAFKA_RESP_ERR_NO_ERROR
				   ? client->fault.text
				   : rd_kafka_err2str(code);

	switch (code)
	{
		case RD_KAFKA_RESP_ERR__AUTHENTICATION:
		case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
			raise_authentication(client, text);
			break;
		case RD_KAFKA_RESP_ERR__SSL:
			ereport(
				ERROR,
				(errcode(ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION),
				 errmsg("could not establish TLS with Kafka server \"%s\"",
						client->server_name),
				 errdetail("%s", text),
				 errhint(
					 "Check that the server's CA is the one in \"ssl_ca_pem\" or \"ssl_ca_location\", that the certificate names the host in \"brokers\", and that the port speaks TLS.")));
			break;
		case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
		case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
		case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
			raise_unauthorized(client, text, topic);
			break;
		case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
		case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
		case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
			raise_topic_gone(topic, text);
			break;
		default:
			break;
	}
	if (strstr(text, "receive.message.max.bytes"))
		raise_oversize(client, text);
	if (doing == KAFKA_DOING_CONNECT ||
		(doing == KAFKA_DOING_LOOKUP &&
		 client->fault.code != RD_KAFKA_RESP_ERR_NO_ERROR))
		raise_unreachable(client, text);
	if (kafka_error_is_transient(code))
		raise_timeout(client, doing, text, topic, partition);
	raise_other(client, code, text, topic, partition);
	pg_unreachable();
}
