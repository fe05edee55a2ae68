"""The API: what moto gives, and in front of it what moto lacks and correctness depends on."""
