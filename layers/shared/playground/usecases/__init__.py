"""One callable class per verb. They know ports and the domain, no vendor."""
