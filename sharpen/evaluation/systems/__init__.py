"""What a model is compared with besides other models: BM25, fusions of rankings, a cross-encoder on top."""
