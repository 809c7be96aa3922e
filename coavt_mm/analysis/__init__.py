"""What one measures beside training: cost, speed, statistics of data, results."""
