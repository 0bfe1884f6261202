"""Results of interventions as plain values: labels, sentences and table rows."""
