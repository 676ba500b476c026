-- What memory holds of the index says more than a filter did, and is read from the buckets when it is asked for.
DROP TABLE index_filter;
