"""Events in and out: consumer loop, retries, inbox, outbox and relay, dead letters."""
