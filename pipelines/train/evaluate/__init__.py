"""What a trained model knows: benchmarks as they are distributed, generation, scores, tables."""
