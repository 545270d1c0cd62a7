"""relprop explains the predictions of machine-learning models by Layer-wise Relevance Propagation."""
