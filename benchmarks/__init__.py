"""Speed, scale and start-up of FedLT beside a plain loop and its peers; see docs/performance.md."""
