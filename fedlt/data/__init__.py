"""From a data set to what each client holds: sources, long-tail profile, partition, local tests, class groups."""
