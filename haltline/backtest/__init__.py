"""The face of a backtest: its history read out of Kafka, and its page. The work itself is `stream.backtest`."""
