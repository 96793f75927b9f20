"""What a training costs on a machine that is not here, before one is rented."""
