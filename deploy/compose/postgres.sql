-- Run once by the image of PostgreSQL, as its superuser, on an empty data folder: the login of the
-- programs. It may make roles (it makes threadkeep_web, as which the web reads), and no more.
\set ON_ERROR_STOP on
\set password `cat /run/secrets/postgres_threadkeep_password`
CREATE ROLE threadkeep LOGIN CREATEROLE PASSWORD :'password';
CREATE DATABASE threadkeep OWNER threadkeep;
REVOKE CONNECT ON DATABASE threadkeep FROM PUBLIC;
