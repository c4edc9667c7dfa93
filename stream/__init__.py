"""Events in and out: records, decoders, topics, the pure pipeline, and the Faust worker that runs it on Kafka."""
