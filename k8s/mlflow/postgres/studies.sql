-- Of `train tune`: apart from MLflow's tables, since both keep the version of their schema under one name.
CREATE DATABASE studies;
