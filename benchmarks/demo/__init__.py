"""Posts live, imports the ChitChat dataset and shows where everything is."""
