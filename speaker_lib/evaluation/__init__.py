"""Accuracy, ensembles, embeddings and verification of trained models."""
