"""What `bench/run.py` is made of: services to measure, the measurements, and what is made of their results."""
