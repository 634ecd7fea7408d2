"""Speed, scale and start-up of FedLT beside a plain loop and its peers; see README.md."""
