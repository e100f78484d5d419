"""Values, contract and doors that districam's services share."""
