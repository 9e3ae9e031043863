/*
 * Dump.java
 *	  Reads topics with Apache Kafka's own client: the reference against which
 *	  the tests hold what the extension returns.
 *
 * It shares no code with the extension and none with librdkafka.  Usage:
 *
 *	  dump BOOTSTRAP records [--uncommitted] TOPIC...
 *	  dump BOOTSTRAP times TIME_MS TOPIC...
 *	  dump BOOTSTRAP ends [--uncommitted] TOPIC...
 *	  dump BOOTSTRAP serve
 *
 * Output is for COPY in text format, sorted by topic (as given), partition and
 * offset, NULL as \N:
 *
 *	  records: topic, partition, offset, timestamp in ms, timestamp type
 *			   (CreateTime, LogAppendTime or NoTimestampType), key and value
 *			   (bytea), headers (JSON: array of [name, hex digits or null])
 *	  times:   topic, partition, offset of the broker's answer for TIME_MS or \N,
 *			   timestamp of that record or \N
 *	  ends:    topic, partition, first offset, end offset
 *
 * "serve" reads the other calls from standard input, one a line and without
 * BOOTSTRAP, and ends each answer with a line "\.": a warm machine answers
 * in a tenth of the time.  An error is a line that begins with "ERROR: ".
 *
 * "records" ends exactly at the end offsets that it asked for at its start:
 * the high watermark with --uncommitted, else the last stable offset.
 * A partition is complete when the position has reached that end, not when a record
 * with the last offset was seen, because transaction markers take offsets too.
 */
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public class Dump
{
	/* Longest silence of the broker before we give up. */
	private static final long SILENCE_LIMIT_MS = 30000;
	private static final char[] HEX = "0123456789abcdef".toCharArray();

	private final KafkaConsumer<byte[], byte[]> consumer;
	private final BufferedWriter out;

	private Dump(String bootstrap, BufferedWriter out, boolean uncommitted)
	{
		Properties conf = new Properties();

		conf.put("bootstrap.servers", bootstrap);
		conf.put("isolation.level", uncommitted ? "read_uncommitted" : "read_committed");
		conf.put("auto.offset.reset", "none");
		conf.put("enable.auto.commit", "false");
		// Each partition is read alone, and its last fetch delays the next one's first.
		conf.put("fetch.max.wait.ms", "5");
		conf.put("allow.auto.create.topics", "false");
		conf.put("default.api.timeout.ms", String.valueOf(SILENCE_LIMIT_MS));
		consumer = new KafkaConsumer<>(conf, new ByteArrayDeserializer(),
									   new ByteArrayDeserializer());
		this.out = out;
	}

	private List<TopicPartition> partitionsOf(String topic)
	{
		List<TopicPartition> result = new ArrayList<>();
		List<PartitionInfo> infos = consumer.partitionsFor(topic);

		if (infos == null || infos.isEmpty())
			throw new IllegalArgumentException("topic " + topic + " does not exist");
		for (PartitionInfo info : infos)
			result.add(new TopicPartition(topic, info.partition()));
		result.sort(Comparator.comparingInt(TopicPartition::partition));
		return result;
	}

	private static void appendHex(StringBuilder to, byte[] bytes)
	{
		for (byte b : bytes)
			to.append(HEX[(b >> 4) & 15]).append(HEX[b & 15]);
	}

	/* bytea in COPY text format, where a backslash is doubled */
	private static void appendBytea(StringBuilder to, byte[] bytes)
	{
		if (bytes == null)
		{
			to.append("\\N");
			return;
		}
		to.append("\\\\x");
		appendHex(to, bytes);
	}

	/* a JSON string, then escaped for COPY */
	private static void appendJsonString(StringBuilder to, String s)
	{
		to.append('"');
		for (char c : s.toCharArray())
		{
			if (c == '"')
				to.append("\\\\\"");
			else if (c == '\\')
				to.append("\\\\\\\\");
			else if (c < ' ')
				to.append(String.format("\\\\u%04x", (int) c));
			else
				to.append(c);
		}
		to.append('"');
	}

	private static void appendHeaders(StringBuilder to, Iterable<Header> headers)
	{
		String separator = "";

		to.append('[');
		for (Header header : headers)
		{
			to.append(separator).append('[');
			appendJsonString(to, header.key());
			to.append(", ");
			if (header.value() == null)
				to.append("null");
			else
			{
				to.append('"');
				appendHex(to, header.value());
				to.append('"');
			}
			to.append(']');
			separator = ", ";
		}
		to.append(']');
	}

	private void writeRecord(ConsumerRecord<byte[], byte[]> record) throws Exception
	{
		StringBuilder line = new StringBuilder();

		line.append(record.topic()).append('\t').append(record.partition());
		line.append('\t').append(record.offset());
		line.append('\t').append(record.timestamp());
		line.append('\t').append(record.timestampType());
		line.append('\t');
		appendBytea(line, record.key());
		line.append('\t');
		appendBytea(line, record.value());
		line.append('\t');
		appendHeaders(line, record.headers());
		line.append('\n');
		out.write(line.toString());
	}

	private void dumpRecords(String topic) throws Exception
	{
		List<TopicPartition> partitions = partitionsOf(topic);
		Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);

		for (TopicPartition partition : partitions)
		{
			long end = ends.get(partition);
			long silentSince = System.currentTimeMillis();

			consumer.assign(List.of(partition));
			consumer.seekToBeginning(List.of(partition));
			while (consumer.position(partition) < end)
			{
				long before = consumer.position(partition);

				for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200)))
				{
					if (record.offset() < end)
						writeRecord(record);
				}
				if (consumer.position(partition) > before)
					silentSince = System.currentTimeMillis();
				else if (System.currentTimeMillis() - silentSince > SILENCE_LIMIT_MS)
					throw new IllegalStateException("no data from " + partition + " at offset " +
													before + ", end is " + end);
			}
		}
	}

	private void dumpTimes(String topic, long timeMs) throws Exception
	{
		List<TopicPartition> partitions = partitionsOf(topic);
		Map<TopicPartition, Long> query = new HashMap<>();
		Map<TopicPartition, OffsetAndTimestamp> answers;

		for (TopicPartition partition : partitions)
			query.put(partition, timeMs);
		answers = consumer.offsetsForTimes(query);
		for (TopicPartition partition : partitions)
		{
			OffsetAndTimestamp answer = answers.get(partition);

			out.write(topic + "\t" + partition.partition() + "\t" +
					  (answer == null ? "\\N\t\\N" : answer.offset() + "\t" + answer.timestamp()) + "\n");
		}
	}

	private void dumpEnds(String topic) throws Exception
	{
		List<TopicPartition> partitions = partitionsOf(topic);
		Map<TopicPartition, Long> starts = consumer.beginningOffsets(partitions);
		Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);

		for (TopicPartition partition : partitions)
			out.write(topic + "\t" + partition.partition() + "\t" + starts.get(partition) + "\t" +
					  ends.get(partition) + "\n");
	}

	private static void usage()
	{
		System.err.println("usage: dump BOOTSTRAP records|ends [--uncommitted] TOPIC...\n" +
						   "       dump BOOTSTRAP times TIME_MS TOPIC...\n" +
						   "       dump BOOTSTRAP serve");
		System.exit(2);
	}

	/*
	 * Executes one call.  Each has a consumer of its own, since a consumer
	 * answers from what it knows of a topic already.
	 */
	private static void execute(String bootstrap, BufferedWriter out, List<String> words)
		throws Exception
	{
		List<String> topics = new ArrayList<>(words.subList(1, words.size()));
		boolean uncommitted = topics.remove("--uncommitted");
		String mode = words.get(0);
		long timeMs = mode.equals("times") ? Long.parseLong(topics.remove(0)) : 0;
		Dump dump = new Dump(bootstrap, out, uncommitted);

		try
		{
			for (String topic : topics)
			{
				if (mode.equals("records"))
					dump.dumpRecords(topic);
				else if (mode.equals("times"))
					dump.dumpTimes(topic, timeMs);
				else if (mode.equals("ends"))
					dump.dumpEnds(topic);
				else
					throw new IllegalArgumentException("unknown call " + mode);
			}
		}
		finally
		{
			dump.consumer.close();
		}
	}

	private static void serve(String bootstrap, BufferedWriter out) throws Exception
	{
		BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
		String line;

		while ((line = in.readLine()) != null)
		{
			try
			{
				execute(bootstrap, out, Arrays.asList(line.split(" ")));
			}
			catch (Exception e)
			{
				out.write("ERROR: " + e + "\n");
			}
			out.write("\\.\n");
			out.flush();
		}
	}

	public static void main(String[] args) throws Exception
	{
		BufferedWriter out = new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8),
												1 << 16);

		if (args.length == 2 && args[1].equals("serve"))
			serve(args[0], out);
		else if (args.length >= 3)
			execute(args[0], out, Arrays.asList(args).subList(1, args.length));
		else
			usage();
		out.flush();
	}
}
