select 0.1::float8 + 0.2::float8
select 1::float8 / 3, 2::float8 / 3, 1::float4 / 3
select 1e308::float8 * 1.5, -1e-308::float8 / 1e10, 4.9e-324::float8 * 3
select 'NaN'::float8 = 'NaN'::float8, 'Infinity'::float8 - 1, '-0'::float8, 0::float8 * -1
select sqrt(2::float8), cbrt(2::float8), exp(1::float8), ln(10::float8), log(2::float8), power(2::float8, 0.5)
select sin(1::float8), cos(1::float8), tan(1::float8), asin(0.5::float8), acos(0.5::float8), atan(2::float8), atan2(1::float8, -3)
select sinh(1::float8), cosh(1::float8), tanh(0.5::float8), asinh(1::float8), acosh(2::float8), atanh(0.5::float8)
select sin(1e15::float8), cos(1e22::float8), tan(-123456.789::float8)
select sind(30), cosd(60), tand(45), degrees(1::float8), radians(180::float8), pi()
select erf(0.5::float8), erfc(2::float8)
select round(0.5::float8), round(1.5::float8), round(2.5::float8), round(-2.5::float8), trunc(-1.7::float8), ceil(-1.2::float8), floor(-1.2::float8)
select (0.5::float8)::int, (1.5::float8)::int, (2.5::float8)::int, (-2.5::float8)::bigint, (2147483647.4::float8)::int
select 3.4028235e38::float4, 1.4e-45::float4, (16777217::float8)::float4, 0.1::float4::float8
select mod(-7, 3), -7 / 2, -7 % 2, div(-7.5, 2), 7.5 % -2
select 9223372036854775807::int8 - 1, (-9223372036854775808)::int8 / 7, 4294967296::int8 * 2147483, abs(-9223372036854775807)
select 1234567890123456789::int8 % 1000000007, (1::int8 << 62) >> 3, (-1::int8) >> 1, 123456789 # 987654321, ~5
select gcd(1234567890123456, 987654321987654), lcm(123456789::int8, 987654)
select 1.0 / 3.0, 2::numeric / 3, 1e20::numeric / 7, 10.0 ^ -20, 123456789012345678901234567890::numeric * 987654321098765432109876543210::numeric
select sqrt(2::numeric), sqrt(123456789.123456789::numeric(40, 20)), exp(1::numeric), ln(2::numeric), log(2.0, 3.0), power(1.5::numeric, 33.7)
select exp(50.5::numeric), ln(1e-30::numeric), power(2::numeric, 200), factorial(50)
select round(2.5::numeric), round(-0.55, 1), round(12345.678, -2), trunc(-9.99, 1), ceil(0.0001), floor(-0.0001)
select 0.1::numeric + 0.2, 1.10 * 3, 1e-40::numeric * 1e40, scale(1.2300), trim_scale(1.2300), min_scale(8.4100)
select 'NaN'::numeric, 'Infinity'::numeric * -1, 12345678901234567890.123456789::numeric::float8, 0.1::float8::numeric, 1e15::float8::numeric
select width_bucket(5.35, 0.024, 10.06, 5), sign(-8.4), to_char(1234567.891, 'FM9,999,999.00'), to_char(-0.000123::float8, '9.99EEEE'), to_hex(3735928559::int8)
select sum(i / 10.0::float8), avg(i * 0.1::float8), stddev(i::float8), variance(i::float8 / 7) from generate_series(1, 1000) i
select sum(i / 7.0), avg(i), stddev(i), variance(i / 3.0) from generate_series(1, 1000) i
select corr(i, i * i), regr_slope(i * i, i), regr_intercept(i * i, i), regr_r2(i * i, i), covar_pop(i, sqrt(i)) from generate_series(1, 500) i
select percentile_cont(0.37) within group (order by sqrt(i::float8)), mode() within group (order by i % 7) from generate_series(1, 100) i
select md5(string_agg((sqrt(i::float8) * ln(i + 1::float8) / exp(i / 1000.0::float8))::text, ',' order by i)) from generate_series(1, 3000) i
select md5(string_agg((sin(i::float8) + cos(i / 3::float8) * tan(i / 7::float8))::text, ',' order by i)) from generate_series(1, 3000) i
select md5(string_agg((atan2(i::float8, 1000 - i) - asin(i / 3001::float8) + tanh(i / 500::float8))::text, ',' order by i)) from generate_series(1, 3000) i
select md5(string_agg(power(i / 100::float8, 3.3 - i / 1000::float8)::text, ',' order by i)) from generate_series(1, 3000) i
select md5(string_agg((i::text || '.' || i * 7919 % 10007 || 'e' || i % 601 - 300)::float8::text, ',' order by i)) from generate_series(1, 3000) i
select md5(string_agg((i * 0.37::float4 / 13)::float4::text, ',' order by i)) from generate_series(1, 3000) i
select md5(string_agg((i::numeric / (i % 97 + 1) * 1.000001 ^ (i % 50))::text, ',' order by i)) from generate_series(1, 2000) i
select md5(string_agg(ln(i::numeric)::text, ',' order by i)) from generate_series(1, 200) i
select md5(string_agg((i::int8 * 6364136223846793 % 1000000007 + (i << 13 # i >> 3))::text, ',' order by i)) from generate_series(1, 1400000, 997) i where i < 1400
select hashtext('snowglobe'), hashint8(123456789012), hashfloat8(0.1), md5('x'), encode(sha256('x'), 'hex')
select setseed(0.42) is null
select random(), random(), random(1, 1000000), random_normal(5, 2)
select extract(epoch from timestamptz '2024-02-29 12:34:56.789012+00'), extract(julian from timestamp '1815-12-10 06:00'), date '2024-03-01' - date '1900-03-01'
select timestamp '2024-01-31' + interval '1 month', interval '1 day 03:04:05.678901' * 1.7, age(timestamp '2024-02-29', timestamp '1999-12-31'), justify_interval(interval '400 days 50 hours')
select area(circle '((1,2),3)'), point '(1,2)' <-> point '(4,6.5)', center(box '((0,0),(3,7))'), polygon '((0,0),(4,0),(4,3))' @> point '(3,1)'
select jsonb '{"a": 1.10, "b": 1e400, "c": [0.1, 12345678901234567890]}' #>> '{}'
select sum(x * y), max(x / y), min(x - y) from (select i * 0.1::float8 x, (1001 - i) * 0.3::float8 y from generate_series(1, 1000) i) t
with recursive newton(n, x) as (select 0, 1::float8 union all select n + 1, (x + 2 / x) / 2 from newton where n < 8) select string_agg(x::text, ' ' order by n) from newton
with recursive logistic(n, x) as (select 0, 0.3::float8 union all select n + 1, 3.99 * x * (1 - x) from logistic where n < 500) select md5(string_agg(x::text, ',' order by n)) from logistic
