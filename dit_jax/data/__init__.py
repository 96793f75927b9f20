"""Videos in, latent records on disk, batches out."""
