/*
 * Place.java
 *	  Produces keys with Apache Kafka's own client, which places them.
 *
 * Usage:
 *
 *	  java Place.java BOOTSTRAP TOPIC... < KEYS
 *
 * KEYS has a key a line, in hex digits; "-" is no key.  Each goes to each topic,
 * in a record whose value is "java", without a partition and with the client's
 * default settings.
 */
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Place
{
	public static void main(String[] args) throws Exception
	{
		List<String> topics = Arrays.asList(args).subList(1, args.length);
		BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
		byte[] value = "java".getBytes();
		Properties conf = new Properties();
		Exception[] failure = new Exception[1];

		conf.put("bootstrap.servers", args[0]);
		try (KafkaProducer<byte[], byte[]> producer =
				 new KafkaProducer<>(conf, new ByteArraySerializer(), new ByteArraySerializer()))
		{
			for (String line; (line = in.readLine()) != null;)
			{
				byte[] key = line.equals("-") ? null : HexFormat.of().parseHex(line);

				for (String topic : topics)
					producer.send(new ProducerRecord<>(topic, key, value), (metadata, e) -> {
						if (e != null)
							failure[0] = e;
					});
			}
		}
		if (failure[0] != null)
			throw failure[0];
	}
}
