"""How batches are counted: by the closed form, as they ran, or as the user says."""
