"""What the benchmarks of the pipeline share: servers, load, the reference, the checks, and the page of results."""
